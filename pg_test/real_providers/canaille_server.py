"""Canaille, an authorization server, on 127.0.0.1: keys of "alg" Ed25519, and RSA. It knows alice.

Of its input, a line `token` makes it print a token of hers, and a line `rotate` gives it other keys.
"""

import datetime
import json
import sys
import threading
import urllib.parse
import urllib.request

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import OKPKey, RSAKey
from werkzeug.serving import make_server

PASSWORD = "correct horse battery staple"
SECRET = "the secret of a client"


def keys():
    made = [OKPKey.generate_key("Ed25519", auto_kid=True), RSAKey.generate_key(2048, auto_kid=True)]
    return [key.as_dict(private=True) for key in made]


server = make_server("127.0.0.1", 0, None, threaded=True)
host = f"127.0.0.1:{server.server_port}"
app = create_app({
    "SECRET_KEY": "a secret of the tests",
    "SERVER_NAME": host,
    "PREFERRED_URL_SCHEME": "http",
    "CANAILLE": {"DATABASE": "memory", "ENABLE_PASSWORD_COMPROMISSION_CHECK": False},
    "CANAILLE_OIDC": {"ACTIVE_JWKS": keys(), "REQUIRE_NONCE": False},
})
server.app = app
with app.app_context():
    alice = models.User(
        formatted_name="Alice",
        family_name="Example",
        user_name="alice",
        emails=["alice@example.com"],
        password=PASSWORD,
    )
    Backend.instance.save(alice)
    client = models.Client(
        client_id="db",
        client_name="The database",
        client_secret=SECRET,
        client_uri="http://127.0.0.1",
        client_id_issued_at=datetime.datetime.now(datetime.timezone.utc),
        grant_types=["password"],
        response_types=[],
        scope=["openid", "email"],
        token_endpoint_auth_method="client_secret_post",
        id_token_signed_response_alg="Ed25519",
    )
    Backend.instance.save(client)
    client.audience = [client]
    Backend.instance.save(client)

threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"issuer http://{host}", flush=True)
for line in sys.stdin:
    if line.strip() == "rotate":
        app.config["CANAILLE_OIDC"]["ACTIVE_JWKS"] = keys()
        print("rotated", flush=True)
    else:
        form = {
            "grant_type": "password",
            "username": "alice",
            "password": PASSWORD,
            "client_id": "db",
            "client_secret": SECRET,
            "scope": "openid email",
        }
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"http://{host}/oauth/token", data) as answer:
            print(json.load(answer)["access_token"], flush=True)
