"""QMP with a blocking face: qemu.qmp's event loop lives in one thread, nobody else sees it.

The socket is one end of a `socket.socketpair`, the other end is QEMU's (``-chardev socket,fd=N``):
there is no path that somebody else could connect to. Commands and events are QEMU's own
(docs/interop/qemu-qmp-ref).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from qemu.qmp import (
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)

from lab.errors import LabError, StartError

# What it logs as an error (a connection that ends) is told by ours.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())

Event = Mapping[str, Any]
T = TypeVar("T")


class RefusedError(LabError):
    """QEMU answered a command with an error; ``kind`` is QMP's error class."""

    status = StartError.status

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Qmp:
    """One QMP connection, for use in a ``with`` block: it connects there and closes at the end.

    Events are kept from the first one on, so none that came before `wait_event` is lost.
    """

    def __init__(self, sock: socket.socket, name: str, *, timeout: float = 30.0) -> None:
        """``name`` is what errors call this QEMU; ``timeout`` is for its greeting, in seconds."""
        self._sock = sock
        self._name = name
        self._timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"qmp {name}", daemon=True
        )
        self._client = QMPClient(name)
        self._events: list[Event] = []
        self._history: list[Event] = []
        self._changed = threading.Condition()
        self._closed = False
        self._attempted: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        try:
            self._thread.start()
            self._wait(self._connect, self._timeout, "greet")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, timeout: float = 30.0
    ) -> Any:
        """The command's return value.

        Raises RefusedError when QEMU answers with an error, StartError when it is gone or has not
        answered after ``timeout`` seconds.
        """

        def call() -> Coroutine[Any, Any, Any]:
            return self._client.execute(command, dict(arguments or {}))

        try:
            return self._wait(call, timeout, command)
        except ExecuteError as error:
            text = f"{self._name}: QEMU refused {command}: {error}"
            raise RefusedError(text, error.error_class) from error

    def give_fd(self, name: str, fd: int, timeout: float = 30.0) -> None:
        """Pass QEMU a copy of an open file, for commands to call it by name (SCM_RIGHTS, getfd).

        Raises as `execute` does.
        """

        async def send() -> None:
            self._client.send_fd_scm(fd)

        self._wait(send, timeout, "getfd")
        self.execute("getfd", {"fdname": name}, timeout)

    def wait_event(
        self,
        name: str,
        timeout: float,
        match: Callable[[Event], bool] = lambda _data: True,
    ) -> Event:
        """The data of the first event ``name`` for which ``match(data)`` holds.

        It may have come earlier; an event is handed out once. Raises StartError when QEMU is gone
        or after ``timeout`` seconds; then the events that came instead are named.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._find(name, match), timeout)
            found = self._find(name, match)
            if found is None:
                raise self._no_event(name, timeout)
            self._events.remove(found)
        data: Event = found.get("data", {})
        return data

    @property
    def history(self) -> tuple[Event, ...]:
        """All events so far as they came, with QEMU's time stamps; also those handed out."""
        with self._changed:
            return tuple(self._history)

    def close(self) -> None:
        """End the connection and the thread; QEMU itself goes on."""
        if not self._thread.is_alive():
            return
        ending = asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop)
        try:
            ending.result(timeout=5.0)
        finally:
            futures.wait([ending], timeout=5.0)  # Ctrl-C may have cut the first wait short
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5.0)
            self._loop.close()

    def _wait(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float, what: str) -> T:
        future: Future[T | Exception] = asyncio.run_coroutine_threadsafe(
            self._attempt(work, timeout), self._loop
        )
        outcome = future.result()
        if isinstance(outcome, Exception):
            self._tell(outcome, timeout, what)
        return outcome

    async def _attempt(
        self, work: Callable[[], Coroutine[Any, Any, T]], seconds: float
    ) -> T | Exception:
        """Its value, or its error as one: asyncio prints errors that nobody waits for any more."""
        self._attempted = asyncio.current_task()
        try:
            async with asyncio.timeout(seconds):
                return await work()
        except Exception as error:  # noqa: BLE001  raised by `_wait`, where somebody waits
            return error

    def _tell(self, error: Exception, timeout: float, what: str) -> NoReturn:
        """Raise the error as the lab tells it; QEMU's refusals and our own faults as they are."""
        match error:
            case TimeoutError():
                text = f"QEMU did not answer {what} within {timeout:.0f} s"
            case ExecInterruptedError() | StateError() | EOFError() | OSError():
                text = f"QEMU closed its QMP connection during {what}"
            case ExecuteError():
                raise error
            case QMPError():
                text = f"QMP failed during {what}: {error}"
            case _:
                raise error
        raise StartError(f"{self._name}: {text}") from error

    async def _connect(self) -> None:
        listener = EventListener()
        self._client.register_listener(listener)
        await self._client.connect(self._sock)
        self._collector = asyncio.create_task(self._collect(listener))
        self._watcher = asyncio.create_task(self._watch())

    async def _collect(self, listener: EventListener) -> None:
        async for event in listener:
            with self._changed:
                self._events.append(event)
                self._history.append(event)
                self._changed.notify_all()

    async def _watch(self) -> None:
        """Wake those who wait for an event when the connection ends."""
        while self._client.runstate == Runstate.RUNNING:
            await self._client.runstate_changed()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def _disconnect(self) -> None:
        if self._attempted:  # unless Ctrl-C ended the wait for it, it is done
            self._attempted.cancel()
            await asyncio.wait({self._attempted})  # it may disconnect too, but not at the same time
        with suppress(QMPError, EOFError, OSError):  # QEMU was faster
            await self._client.disconnect()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _find(self, name: str, match: Callable[[Event], bool]) -> Event | None:
        for event in self._events:
            if event["event"] == name and match(event.get("data", {})):
                return event
        return None

    def _no_event(self, name: str, timeout: float) -> StartError:
        if self._closed:
            return StartError(f"{self._name}: QEMU closed its QMP connection before {name}")
        seen = ", ".join(str(event["event"]) for event in self._events) or "none"
        return StartError(
            f"{self._name}: no {name} event within {timeout:.0f} s (events seen: {seen})"
        )
