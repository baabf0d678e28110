/*
 * Logins as PostgreSQL sees them, compiled against the server's own headers, because the layouts of Port and HbaLine are
 * nobody's to copy.
 */
#include "postgres.h"

/*
 * Else the headers of a server that was built with these include theirs, which need not be installed. PostgreSQL keeps the
 * fields that are read here in their places either way.
 */
#undef ENABLE_GSS
#undef USE_OPENSSL

#include "libpq/auth.h"
#include "libpq/hba.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#if PG_VERSION_NUM >= 180000
#include "libpq/oauth.h"
#endif

/* Told how each authentication ended; pam_service is NULL if PAM was not asked. src/login/mod.rs. */
extern void pg_jwks_authentication_decided(bool is_authenticated, const char *pam_service);

extern void pg_jwks_watch_authentication(void);
extern const char *pg_jwks_requested_role(void);
extern const char *pg_jwks_pam_service(void);
extern bool pg_jwks_client_is_private(void);
extern bool pg_jwks_user_map_allows(const char *map, const char *authn_id);

static ClientAuthentication_hook_type next_hook;

/* The PAM service that is asked about this client; NULL without one. */
static const char *
pam_service(const Port *port)
{
	if (port == NULL || port->hba == NULL || port->hba->auth_method != uaPAM)
		return NULL;
	return port->hba->pamservice ? port->hba->pamservice : "postgresql";
}

static void
authentication_decided(Port *port, int status)
{
	if (next_hook)
		next_hook(port, status);
	pg_jwks_authentication_decided(status == STATUS_OK, pam_service(port));
}

void
pg_jwks_watch_authentication(void)
{
	next_hook = ClientAuthentication_hook;
	ClientAuthentication_hook = authentication_decided;
}

/* The role that the client asks for; NULL outside of an authentication. */
const char *
pg_jwks_requested_role(void)
{
	return MyProcPort ? MyProcPort->user_name : NULL;
}

const char *
pg_jwks_pam_service(void)
{
	return pam_service(MyProcPort);
}

/* Whether nobody can read along: TLS, or a socket of this machine. */
bool
pg_jwks_client_is_private(void)
{
	return MyProcPort && (MyProcPort->ssl_in_use || MyProcPort->raddr.addr.ss_family == AF_UNIX);
}

/* Whether pg_ident.conf, or without a map the name itself, lets this user have the requested role. Logs if not. */
bool
pg_jwks_user_map_allows(const char *map, const char *authn_id)
{
	return check_usermap(map, MyProcPort->user_name, authn_id, false) == STATUS_OK;
}

#if PG_VERSION_NUM >= 180000

/* src/login/oauth.rs. Returns whether the bearer may log in; sets authn_id where it is known who it is. */
extern bool pg_jwks_validate(const char *token, const char *role, const char *issuer, const char *scope,
							 bool delegates_mapping, char **authn_id);

extern const OAuthValidatorCallbacks *pg_jwks_oauth_callbacks(void);

static bool
validate(const ValidatorModuleState *state, const char *token, const char *role, ValidatorModuleResult *result)
{
	const HbaLine *line = MyProcPort->hba;

	result->authorized = pg_jwks_validate(token, role, line->oauth_issuer, line->oauth_scope,
										  line->oauth_skip_usermap, &result->authn_id);
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

#endif
