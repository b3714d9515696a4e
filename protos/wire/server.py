"""The gate in front of every RPC: who calls, whether they may, and how an error leaves.

Order, for each call: authenticate the peer, look the method up in `protos.wire.access.ACCESS`, run the
servicer, turn whatever it raises into a catalogued status. An unforeseen exception leaves as `INTERNAL`
with a random reference; the log has the reference, the type and the places in the code, never the values.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog

from protos.wire.access import may_call
from protos.wire.errors import CATALOGUE, TRAILER, ErrorCode, RefusedError, status_of
from protos.wire.limits import LIMITS
from protos.wire.peers import Peer, set_current_peer
from protos.wire.safelog import places_of

_log = structlog.get_logger("rpc")

if TYPE_CHECKING:  # generic in the stubs, plain classes at run time
    Context = grpc.aio.ServicerContext[Any, Any]
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    Context = grpc.aio.ServicerContext
    _Interceptor = grpc.aio.ServerInterceptor

Authenticate = Callable[[Context], Peer]
Translate = Callable[[Exception], RefusedError | None]
#: Called once a call with (method, outcome code or "OK", seconds).
Observe = Callable[[str, str, float], None]

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", LIMITS.message_bytes),
    ("grpc.max_send_message_length", LIMITS.message_bytes),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", LIMITS.calls_per_connection),
    ("grpc.so_reuseport", 0),
)


class Gatekeeper(_Interceptor):
    """Authenticates, authorises and translates errors for every method of a server."""

    def __init__(self, authenticate: Authenticate, translate: Translate, observe: Observe) -> None:
        self._authenticate = authenticate
        self._translate = translate
        self._observe = observe

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        # None, whatever its type says, where there is no such method: gRPC then answers UNIMPLEMENTED.
        handler: Any = await continuation(handler_call_details)
        if not handler:
            return cast("grpc.RpcMethodHandler[Any, Any]", handler)
        method = str(handler_call_details.method)
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(self._streaming(method, inner), **codec)
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make_one = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return make_one(self._single(method, inner), **codec)

    def _single(self, method: str, inner: Callable[..., Awaitable[object]]) -> Callable[..., Any]:
        async def serve(request: object, context: Context) -> object:
            refusal: RefusedError | None = None
            with self._measured(method) as outcome:
                try:
                    self._admit(method, context)
                    return await inner(request, context)
                except Exception as error:  # noqa: BLE001 - the boundary: everything is translated
                    refusal = self._refusal(method, error)
                    outcome.append(refusal.code)
            await _abort(context, refusal)
            raise AssertionError("abort returned")

        return serve

    def _streaming(self, method: str, inner: Callable[..., AsyncIterator[object]]) -> Callable[..., Any]:
        async def serve(request: object, context: Context) -> AsyncIterator[object]:
            refusal: RefusedError | None = None
            with self._measured(method) as outcome:
                try:
                    self._admit(method, context)
                    async for response in inner(request, context):
                        yield response
                except Exception as error:  # noqa: BLE001 - the boundary: everything is translated
                    refusal = self._refusal(method, error)
                    outcome.append(refusal.code)
            if refusal is not None:
                await _abort(context, refusal)

        return serve

    def _admit(self, method: str, context: Context) -> None:
        peer = self._authenticate(context)
        if not may_call(method, peer.callers):
            raise peer.narrowed or RefusedError(
                ErrorCode.NOT_ALLOWED, f"this caller may not call {method.rsplit('/', 1)[-1]}"
            )
        set_current_peer(peer)

    def _refusal(self, method: str, error: Exception) -> RefusedError:
        if isinstance(error, RefusedError):
            _log.info("refused", method=method, code=str(error.code))
            return error
        translated = self._translate(error)
        if translated is not None:
            _log.info("refused", method=method, code=str(translated.code))
            return translated
        reference = secrets.token_hex(4)
        _log.error(
            "failed", method=method, reference=reference, error=type(error).__name__, places=places_of(error)
        )
        return RefusedError(
            ErrorCode.INTERNAL,
            f"{CATALOGUE[ErrorCode.INTERNAL].meaning} Reference {reference}.",
        )

    @contextmanager
    def _measured(self, method: str) -> Iterator[list[str]]:
        began = time.perf_counter()
        outcome: list[str] = []
        try:
            yield outcome
        except (asyncio.CancelledError, GeneratorExit):
            outcome.append(ErrorCode.CANCELLED)
            raise
        finally:
            self._observe(method, outcome[0] if outcome else "OK", time.perf_counter() - began)


async def _abort(context: Context, refusal: RefusedError) -> None:
    await context.abort(status_of(refusal.code), refusal.detail, ((TRAILER, str(refusal.code)),))
