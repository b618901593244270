"""saslStart, saslContinue, logout, connectionStatus."""

from __future__ import annotations

from typing import Any

from stilldb.gateway import auth
from stilldb.gateway.registry import REQUIRED, Param, command, ignored
from stilldb.gateway.request import Request
from stilldb.query.values import Document


@command(
    "saslStart",
    params=(
        Param("mechanism", str, REQUIRED),
        Param("payload", (bytes, str), REQUIRED),
        Param("options", dict),
        *ignored("autoAuthorize", "db"),
    ),
    auth=False,
)
async def sasl_start(request: Request, values: dict[str, Any]) -> Document:
    """The client's first message of a SCRAM conversation."""
    return await auth.start(request.session, values["mechanism"], values["payload"], values["options"])


@command(
    "saslContinue",
    params=(Param("conversationId", int), Param("payload", (bytes, str), REQUIRED)),
    auth=False,
)
async def sasl_continue(request: Request, values: dict[str, Any]) -> Document:
    """The client's proof."""
    return auth.proceed(request.session, values["payload"])


@command("logout", auth=False)
async def logout(request: Request, values: dict[str, Any]) -> Document:
    """Forget who the session's user is."""
    request.session.user = None
    request.session.sasl = None
    return {"ok": 1.0}


@command("connectionStatus", params=(Param("showPrivileges", bool, False),), auth=False)
async def connection_status(request: Request, values: dict[str, Any]) -> Document:
    """Who the session's user is. The privileges are those of its roles, which nobody narrows."""
    user = request.session.user
    found = await request.documents.find_user(user) if user is not None else None
    info: Document = {
        "authenticatedUsers": [{"user": user, "db": found["db"]}] if found else [],
        "authenticatedUserRoles": list(found["roles"]) if found else [],
    }
    if values["showPrivileges"]:
        info["authenticatedUserPrivileges"] = []
    return {"authInfo": info, "ok": 1.0}
