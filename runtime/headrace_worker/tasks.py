"""Tasks that are ended by whoever began them."""

import asyncio


async def end(*tasks: asyncio.Task[None], expected: tuple[type[Exception], ...] = ()) -> None:
    """Cancel them and wait until all have ended; of what they raise, what is `expected` is no error.

    Whoever waits here may be cancelled itself meanwhile: that must not be taken for the end of a task, as
    `suppress(CancelledError)` around an `await` of it does. A worker that is stopped in this moment would go on.
    """
    for task in tasks:
        task.cancel()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        if error and not isinstance(error, (asyncio.CancelledError, *expected)):
            raise error
