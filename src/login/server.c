/*
 * The OAuth validator as PostgreSQL sees it (libpq/oauth.h), compiled against the server's own headers, because the
 * layouts of Port and HbaLine are nobody's to copy.
 */
#include "postgres.h"

#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "libpq/oauth.h"
#include "miscadmin.h"

/* src/login/oauth.rs. Returns whether the bearer may log in; sets authn_id where it is known who it is. */
extern bool pg_jwks_validate(const char *token, const char *role, const char *issuer, const char *scope,
							 bool delegates_mapping, char **authn_id);

/* src/login/oauth.rs. Told how the authentication ended after the validator let the bearer pass. */
extern void pg_jwks_authentication_decided(bool is_authenticated);

extern const OAuthValidatorCallbacks *pg_jwks_oauth_callbacks(void);

static ClientAuthentication_hook_type next_hook;

static void
authentication_decided(Port *port, int status)
{
	if (next_hook)
		next_hook(port, status);
	pg_jwks_authentication_decided(status == STATUS_OK);
}

static bool
validate(const ValidatorModuleState *state, const char *token, const char *role, ValidatorModuleResult *result)
{
	const HbaLine *line = MyProcPort->hba;

	result->authorized = pg_jwks_validate(token, role, line->oauth_issuer, line->oauth_scope,
										  line->oauth_skip_usermap, &result->authn_id);
	if (result->authorized)
	{
		next_hook = ClientAuthentication_hook;
		ClientAuthentication_hook = authentication_decided;
	}
	return true;
}

const OAuthValidatorCallbacks *
pg_jwks_oauth_callbacks(void)
{
	static const OAuthValidatorCallbacks callbacks = {
		.magic = PG_OAUTH_VALIDATOR_MAGIC,
		.validate_cb = validate,
	};

	return &callbacks;
}
