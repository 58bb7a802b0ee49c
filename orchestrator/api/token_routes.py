"""Tokens: who may come from the network."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from orchestrator.api.guard import let_answer, said
from orchestrator.api.heeded import WHOLE_BODY
from orchestrator.api.peers import caller_of
from orchestrator.control.tokens import LIFE_MAX_S, LIFE_MIN_S, Tokens
from orchestrator.model.right import Right
from orchestrator.model.token import Token


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token without anything that opens a door. Times are seconds since the epoch."""

    name: str
    right: Right
    certificate: bool  # whether it is a certificate of that common name that it stands for, and no secret
    made_at_s: float
    made_by: str
    expires_at_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TokenWish:
    """A token to be made, for so many seconds."""

    __pydantic_config__ = WHOLE_BODY

    name: str
    right: Right
    life_s: Annotated[float, Field(ge=LIFE_MIN_S, le=LIFE_MAX_S)]
    certificate: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token, and its secret, which is told this once; "" where a certificate stands for it."""

    token: TokenView
    secret: str


def token_routes(tokens: Tokens) -> APIRouter:
    """The routes under /v1/tokens."""
    router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

    @router.get("")
    def list_tokens() -> list[TokenView]:
        """All tokens, by name, expired ones as well."""
        return [view_token(one) for one in tokens.all()]

    @router.post("", status_code=201)
    def create_token(request: Request, wish: TokenWish, response: Response) -> NewToken:
        """Makes a token, or lets a certificate in; by the host's own socket alone."""
        said(request, "token-create", wish.name, f"--role={wish.right}")
        by = caller_of(request).party
        token, secret = tokens.create(wish.name, wish.right, life_s=wish.life_s, by=by, certificate=wish.certificate)
        response.headers["cache-control"] = "no-store"
        return NewToken(token=view_token(token), secret=secret)

    @router.delete("/{name}")
    def remove_token(request: Request, name: str) -> TokenView:
        """Takes a token away: who comes by it is refused at once, and his open watches end.

        Who takes away his own gets this answer, and no other.
        """
        said(request, "token-rm", name)
        token = tokens.remove(name)
        if token.party == caller_of(request).party:
            let_answer(request)
        return view_token(token)

    return router


def view_token(token: Token) -> TokenView:
    """As it is shown."""
    return TokenView(
        name=token.name,
        right=token.right,
        certificate=not token.digest,
        made_at_s=token.made_at_s,
        made_by=token.made_by,
        expires_at_s=token.expires_at_s,
    )
