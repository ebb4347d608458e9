"""A provider of OpenID Connect that tests log in at, and a browser's part of it."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

CLIENT, SECRET = "neve", "provider-secret"


class TestProvider:
    """Knows one person. What it does wrong is in `wrong`."""

    __test__ = False

    def __init__(self, secret: str = SECRET) -> None:
        self.issuer, self.secret = "", secret
        self.claims: dict[str, Any] = {"sub": "s-1", "email": "ann@example.com", "groups": ["shop-team"]}
        self.wrong: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.rotate()
        self.app = FastAPI()
        self.app.get("/.well-known/openid-configuration")(self.discovery)
        self.app.get("/authorize")(self.authorize)
        self.app.post("/token")(self.token)
        self.app.get("/jwks")(self.jwks)

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = secrets.token_hex(4)

    def discovery(self) -> dict[str, Any]:
        at = self.issuer
        found = {"issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token"}
        return {**found, "jwks_uri": f"{at}/jwks", **self.wrong.get("discovery", {})}

    def authorize(self, request: Request) -> dict[str, str]:
        """Who asks is told the code, as a browser would carry it back."""
        asked = dict(request.query_params)
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "redirect_uri": asked["redirect_uri"]}

    async def token(self, request: Request) -> JSONResponse:
        given = {name: one[0] for name, one in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(given.get("code", ""), None)
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{self.secret}".encode()).decode()
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        fits = asked is not None and challenge == asked["code_challenge"]
        if (
            not fits
            or request.headers.get("authorization") != basic
            or given["redirect_uri"] != asked["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= self.claims | self.wrong.get("claims", {})
        claims = {name: value for name, value in claims.items() if value is not None}
        key, algorithm = self.wrong.get("key", self.key), self.wrong.get("algorithm", "RS256")
        return JSONResponse({"id_token": jwt.encode(claims, key, algorithm, headers={"kid": self.kid})})

    def jwks(self) -> dict[str, Any]:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}


class Browser(httpx.Client):
    """Follows a login by hand."""

    def begin(self, provider: TestProvider, next_: str = "/") -> dict[str, str]:
        answer = self.get("/auth/login", params={"next": next_})
        assert answer.status_code == 302, answer.text
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        where = answer.headers["location"]
        assert where.startswith(provider.issuer)
        return dict(httpx.get(where, trust_env=False, timeout=240).json())

    def back(self, given: dict[str, str]) -> httpx.Response:
        return self.get("/auth/callback", params={name: given[name] for name in ("code", "state")})

    def login(self, provider: TestProvider, next_: str = "/") -> httpx.Response:
        return self.back(self.begin(provider, next_))
