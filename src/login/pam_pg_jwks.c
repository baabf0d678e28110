/*
 * pam_pg_jwks.so: the token is the password. It asks the client for it, and hands it to the library pg_jwks in the same
 * process, which PostgreSQL has preloaded; so one file serves every version of PostgreSQL.
 *
 * Whether the client may be asked is the library's to say, before it is asked. Without the library nobody is.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <security/pam_modules.h>

/* src/login/password.rs. Each is true if all is well. */
typedef int (*may_ask_function)(int argc, const char **argv);
typedef int (*may_log_in_function)(const char *token);
typedef int (*is_admitted_function)(void);

/* A function of the library; NULL, and a line in the server's log, without it. */
static void *
library_function(const char *name)
{
	void	   *function = dlsym(RTLD_DEFAULT, name);

	if (function == NULL)
		fprintf(stderr, "pam_pg_jwks: there is no pg_jwks of this version in the process: preload it "
				"(shared_preload_libraries), restart PostgreSQL, and use this module with PostgreSQL only\n");
	return function;
}

/* The password that the client gives, to be freed; NULL without one. */
static char *
password(pam_handle_t *pam)
{
	const struct pam_message prompt = {.msg_style = PAM_PROMPT_ECHO_OFF, .msg = "Token: "};
	const struct pam_message *prompts = &prompt;
	const void *item = NULL;
	const struct pam_conv *conversation;
	struct pam_response *response = NULL;
	char	   *given;

	if (pam_get_item(pam, PAM_CONV, &item) != PAM_SUCCESS || item == NULL)
		return NULL;
	conversation = item;
	if (conversation->conv(1, &prompts, &response, conversation->appdata_ptr) != PAM_SUCCESS || response == NULL)
		return NULL;
	given = response->resp;
	free(response);
	return given;
}

int
pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv)
{
	may_ask_function may_ask;
	may_log_in_function may_log_in;
	char	   *token;
	int			result;

	(void) flags;
	*(void **) &may_ask = library_function("pg_jwks_pam_may_ask");
	*(void **) &may_log_in = library_function("pg_jwks_pam_may_log_in");
	if (may_ask == NULL || may_log_in == NULL || !may_ask(argc, argv))
		return PAM_AUTHINFO_UNAVAIL;
	token = password(pam);
	if (token == NULL)
		return PAM_AUTH_ERR;
	result = may_log_in(token) ? PAM_SUCCESS : PAM_AUTH_ERR;
	explicit_bzero(token, strlen(token));
	free(token);
	return result;
}

int
pam_sm_acct_mgmt(pam_handle_t *pam, int flags, int argc, const char **argv)
{
	is_admitted_function is_admitted;

	(void) pam, (void) flags, (void) argc, (void) argv;
	*(void **) &is_admitted = library_function("pg_jwks_pam_is_admitted");
	return is_admitted != NULL && is_admitted() ? PAM_SUCCESS : PAM_AUTH_ERR;
}

/* There are no credentials to set, but PAM asks. */
int
pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv)
{
	(void) pam, (void) flags, (void) argc, (void) argv;
	return PAM_SUCCESS;
}
