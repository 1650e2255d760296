// The chat box: a conversation with one model, streamed.

export class Chat {
  constructor(page, headers, say) {
    this.page = page;
    this.headers = headers;
    this.say = say;
    this.messages = [];
    this.stopping = null;
    page("chat").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    page("chat-stop").addEventListener("click", () => this.stopping?.abort());
    page("chat-new").addEventListener("click", () => {
      this.stopping?.abort();
      this.messages = [];
      page("chat-log").replaceChildren();
    });
  }

  /** The models to choose from; the choice stays. `chats`: whether the console's own key may be used. */
  offer(names, chats) {
    this.page("chat-own").hidden = chats;
    this.page("chat-key").required = !chats;
    const list = this.page("chat-model");
    if ([...list.options].map((one) => one.value).join("\n") === names.join("\n")) return;
    const chosen = list.value;
    list.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  }

  async send() {
    const box = this.page("chat-text");
    const messages = this.messages;
    const text = box.value;
    messages.push({ role: "user", content: text });
    const asked = this.line("user", text);
    box.value = "";
    const answer = this.line("assistant", "");
    this.stopping = new AbortController();
    this.busy(true);
    try {
      await this.stream(messages, answer, this.stopping.signal);
      if (!answer.textContent) throw new Error("The answer has no text.");
    } catch (error) {
      if (error.name !== "AbortError") this.line("bad", error.message);
    } finally {
      if (answer.textContent) {
        messages.push({ role: "assistant", content: answer.textContent });
      } else {
        messages.pop();
        asked.remove();
        answer.remove();
        if (this.messages === messages) box.value ||= text; // unless a new conversation has begun
      }
      this.busy(false);
    }
  }

  async stream(messages, answer, signal) {
    const body = JSON.stringify({ model: this.page("chat-model").value, messages, stream: true });
    const key = this.page("chat-key");
    const who = key.required ? { Authorization: `Bearer ${key.value.trim()}` } : this.headers();
    const headers = { "Content-Type": "application/json", ...who };
    const response = await fetch("v1/chat/completions", { method: "POST", headers, body, signal });
    if (!response.ok) {
      const said = await response.json().catch(() => ({}));
      throw new Error(said.error?.message ?? `the queue answers ${response.status}`);
    }
    for await (const event of events(response.body)) {
      if (event.error) throw new Error(event.error.message);
      answer.textContent += event.choices?.[0]?.delta?.content ?? "";
    }
  }

  line(role, text) {
    const found = document.createElement("p");
    found.className = role;
    found.textContent = text;
    this.page("chat-log").append(found);
    return found;
  }

  busy(now) {
    this.page("chat-send").disabled = now;
    this.page("chat-stop").disabled = !now;
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}
