"""Why a token is refused, in the words that Envoy's users know."""

from __future__ import annotations

from typing import Final

OK: Final = ""
MISSING: Final = "Jwt is missing"
NOT_YET_VALID: Final = "Jwt not yet valid"
EXPIRED: Final = "Jwt is expired"
BAD_FORMAT: Final = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
HEADER_BAD_BASE64: Final = "Jwt header is an invalid Base64url encoded"
HEADER_BAD_JSON: Final = "Jwt header is an invalid JSON"
HEADER_BAD_ALG: Final = "Jwt header [alg] field is required and must be a string"
HEADER_UNKNOWN_ALG: Final = "Jwt header [alg] is not supported"
HEADER_BAD_KID: Final = "Jwt header [kid] field is not a string"
PAYLOAD_BAD_BASE64: Final = "Jwt payload is an invalid Base64url encoded"
PAYLOAD_BAD_JSON: Final = "Jwt payload is an invalid JSON"
PAYLOAD_NOT_STRING: Final = "Jwt payload [%s] field is not a string"
PAYLOAD_NOT_INTEGER: Final = "Jwt payload [%s] field is not an integer"
PAYLOAD_OUT_OF_RANGE: Final = "Jwt payload [%s] field is not a positive 64 bit integer"
PAYLOAD_BAD_AUD: Final = "Jwt payload [aud] field is not a string or string list"
SIGNATURE_BAD_BASE64: Final = "Jwt signature is an invalid Base64url encoded"
SIGNATURE_WRONG_LENGTH: Final = "Jwt ED25519 signature is wrong length"
UNKNOWN_ISSUER: Final = "Jwt issuer is not configured"
AUDIENCE_NOT_ALLOWED: Final = "Audiences in Jwt are not allowed"
VERIFICATION_FAILS: Final = "Jwt verification fails"
NO_VALID_KEYS: Final = "Jwks doesn't have any valid public key"
KEY_MISMATCH: Final = "Jwks doesn't have key to match kid or alg from Jwt"
FETCH_FAILED: Final = "Jwks remote fetch is failed"


class TokenError(Exception):
    """A token cannot be used; its text is one of the above."""
