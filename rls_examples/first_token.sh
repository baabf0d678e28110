#!/bin/sh
# A first token, without an identity provider. It needs sh and openssl 3, and makes a key in folder first_token.
#   sh first_token.sh settings      prints the settings that trust the key, for psql
#   sh first_token.sh alice         prints a token of alice, which is good for an hour
# Whoever can read the key can be anybody: it is for tests. `rm -r first_token` and new settings end that.
set -eu

usage() {
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
}
[ $# = 1 ] && [ -n "$1" ] || usage
folder=${FIRST_TOKEN_FOLDER:-first_token}
issuer=https://first-token.example
audience=first_token

base64url() {
    openssl base64 -A | tr '+/' '-_' | tr -d '='
}

if [ ! -e "$folder/key.pem" ]; then
    mkdir -p "$folder"
    (umask 077 && openssl genpkey -algorithm ed25519 -out "$folder/key.pem")
    # The last 32 bytes of an Ed25519 public key are the key itself (RFC 8410 section 4).
    x=$(openssl pkey -in "$folder/key.pem" -pubout -outform DER | tail -c 32 | base64url)
    printf '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"first","alg":"EdDSA","x":"%s"}]}\n' "$x" >"$folder/jwks.json"
fi

if [ "$1" = settings ]; then
    cat <<SQL
LOAD 'pg_jwks';
ALTER SYSTEM SET pg_jwks.issuer = '$issuer';
ALTER SYSTEM SET pg_jwks.audience = '$audience';
ALTER SYSTEM SET pg_jwks.jwks = '$(cat "$folder/jwks.json")';
SELECT pg_reload_conf();
SQL
    exit
fi

case $1 in
*[!A-Za-z0-9._@-]*) usage ;;
esac
now=$(date +%s)
header=$(printf '{"alg":"EdDSA","kid":"first","typ":"JWT"}' | base64url)
payload=$(printf '{"iss":"%s","aud":"%s","sub":"%s","iat":%s,"exp":%s}' \
    "$issuer" "$audience" "$1" "$now" "$((now + 3600))" | base64url)
# openssl signs files only.
signed=$(mktemp)
trap 'rm -f "$signed"' EXIT
printf '%s.%s' "$header" "$payload" >"$signed"
printf '%s.%s.%s\n' "$header" "$payload" "$(openssl pkeyutl -sign -rawin -inkey "$folder/key.pem" -in "$signed" | base64url)"
