-- The health of an InferenceModel for Argo CD: resource.customizations.health.headrace.dev_InferenceModel in argocd-cm.
local function condition(kind)
  if obj.status ~= nil and obj.status.conditions ~= nil then
    for _, one in ipairs(obj.status.conditions) do
      if one.type == kind then
        return one
      end
    end
  end
  return {}
end

local ready = condition("Ready")
local stalled = condition("Stalled")
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this version of the spec yet"}
end
if stalled.status == "True" then
  return {status = "Degraded", message = stalled.reason .. ": " .. stalled.message}
end
if ready.status ~= "True" then
  return {status = "Progressing", message = (ready.reason or "") .. ": " .. (ready.message or "")}
end
if ready.reason == "Disabled" then
  return {status = "Suspended", message = ready.message}
end
return {status = "Healthy", message = ready.message}
