# pg_jwks. PG=18 or PG_CONFIG=/path/to/pg_config chooses the PostgreSQL; without them it is the distribution's.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help demo test fuzz bench lint build install documents package clean

export PG PG_CONFIG

DOCUMENTS := README.md LICENSE CHANGELOG.md SECURITY.md docs rls_examples
VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" pg_jwks.control)

# Sets PG_CONFIG, PG_MAJOR, STAGE and CARGO_FLAGS for the rest of a recipe; installs what is missing, or says how.
define POSTGRES
pg_test/provision --build-deps
PG_CONFIG=$$(pg_test/provision)
PG_MAJOR=$$("$$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
STAGE=$(CURDIR)/target/stage/$$PG_MAJOR
export PG_CONFIG PGRX_PG_CONFIG_PATH=$$PG_CONFIG PG_JWKS_STAGE=$$STAGE
CARGO_FLAGS="--release --locked --features pg_jwks/pg$$PG_MAJOR"
endef

# Builds, and gathers what PostgreSQL needs in one folder for each of its versions.
define STAGED
$(POSTGRES)
echo "pg_jwks $(VERSION) for $$("$$PG_CONFIG" --version) ($$PG_CONFIG)"
cargo build $$CARGO_FLAGS $(1)
mkdir -p "$$STAGE"
cp target/release/libpg_jwks.so "$$STAGE/pg_jwks.so"
cp pg_jwks.control sql/pg_jwks--*.sql "$$STAGE/"
# Aside and then renamed: a server may be using the one that is there.
$(CC) -shared -fPIC -O2 -Wall -Wextra $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o "$$STAGE/pam_pg_jwks.new" \
	src/login/pam_pg_jwks.c -lpam
mv "$$STAGE/pam_pg_jwks.new" "$$STAGE/pam_pg_jwks.so"
endef

help: ## List the commands
	sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18
	echo "PG=18 or PG_CONFIG=/path/to/pg_config chooses the PostgreSQL."

demo: ## Show the extension at work on a throwaway server
	$(call STAGED,-p pg_jwks -p pg_test --no-default-features --lib --bin demo)
	target/release/demo

test: ## Run every test on a throwaway server; with PG_JWKS_LONG=1 those of load for a minute each
	pg_test/provision --node
	pg_test/provision --clients >/dev/null
	pg_test/provision --extensions
	$(call STAGED,--workspace)
	cargo test $$CARGO_FLAGS --workspace
	src/core/fuzz/smoke

fuzz: ## Fuzz the parsers for five minutes each, with AddressSanitizer
	SANITIZE=address src/core/fuzz/smoke 300

bench: ## Measure, print ratios to the alternatives, and draw charts
	$(call STAGED,--workspace --features pg_test/bench --config profile.release.package.pg_test.opt-level=3)
	cargo bench --locked -p pg_jwks_core --bench core
	target/release/bench --charts=target/charts
	echo "The charts are in target/charts."

lint: ## Check formatting, lints, documentation, SQL and dependencies
	$(POSTGRES)
	cargo fmt --all --check
	cargo clippy $$CARGO_FLAGS --features pg_test/bench --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $$CARGO_FLAGS --workspace --no-deps
	pg_test/pgspot/check "$$(pg_test/provision --pgspot)"
	cargo_deny=$$(pg_test/provision --cargo-deny)
	advisories=https://github.com/RustSec/advisory-db
	# Git fetches from a copy instead, if there is one.
	copy=$$(pg_test/provision --advisories)
	[ -z "$$copy" ] || export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$$copy.insteadOf" GIT_CONFIG_VALUE_0=$$advisories
	"$$cargo_deny" fetch db || { echo "Cannot fetch $$advisories: set PG_JWKS_ADVISORIES to a .tar.gz of it." >&2; exit 1; }
	"$$cargo_deny" --locked --workspace --features "pg_jwks/pg$$PG_MAJOR,pg_test/bench" check --hide-inclusion-graph
	# What only the main workspace has, the fuzzing lacks.
	"$$cargo_deny" --locked --manifest-path src/core/fuzz/Cargo.toml --config deny.toml check --hide-inclusion-graph \
		--allow unnecessary-skip --allow unmatched-skip

build: ## Build the extension
	$(call STAGED,-p pg_jwks)
	echo "Built in $$STAGE."

# Where PAM looks for its modules.
PAM_MODULES = $(shell pkg-config --variable=libdir pam)/security

install: ## Install the extension into PostgreSQL (DESTDIR and PAM_MODULES are honoured)
	$(call STAGED,-p pg_jwks)
	library=$(DESTDIR)$$("$$PG_CONFIG" --pkglibdir)
	share=$(DESTDIR)$$("$$PG_CONFIG" --sharedir)/extension
	modules=$(DESTDIR)$(PAM_MODULES)
	example=$(DESTDIR)$$("$$PG_CONFIG" --docdir)
	example=$${example%%/share/doc*}/share/doc/pg_jwks/docs/pam.d
	install -d "$$library" "$$share" "$$modules" "$$example" || { echo "Run this as a user who may write there, or set DESTDIR." >&2; exit 1; }
	install -m 755 "$$STAGE/pg_jwks.so" "$$library/"
	install -m 644 "$$STAGE/pam_pg_jwks.so" "$$modules/"
	install -m 644 docs/pam.d/pg_jwks "$$example/"
	install -m 644 "$$STAGE"/pg_jwks.control "$$STAGE"/pg_jwks--*.sql "$$share/"
	echo "Installed. In each database that uses it: CREATE EXTENSION pg_jwks;"

# What the package has to read, laid out as it is here, so that links work there too. FOLDER says where it goes. Left out is
# what those who run an example make there.
documents:
	install -d -m 755 "$(FOLDER)"
	tar --mode='a=rX,u+w' --exclude={self_signed_api,psql_login}/{node_modules,keys,dist} -cf - $(DOCUMENTS) |
		tar -C "$(FOLDER)" --no-same-owner -xpf -

package: ## Make a tarball of what install installs, and the documents
	root=$(CURDIR)/target/package/root
	rm -rf "$$root"
	$(MAKE) install DESTDIR="$$root"
	$(POSTGRES)
	documents=$$("$$PG_CONFIG" --docdir)
	documents=$$root$${documents%%/share/doc*}/share/doc/pg_jwks
	$(MAKE) documents FOLDER="$$documents"
	tarball=target/package/pg_jwks-$(VERSION)-pg$$PG_MAJOR-$$(uname -s | tr A-Z a-z)-$$(uname -m).tar.gz
	# Files only, and root's: unpacked in /, directories would take the owner and mode that they have here.
	(cd "$$root" && find . -type f -printf '%P\0') |
		tar -C "$$root" --null --files-from=- --owner=0 --group=0 --numeric-owner -czf "$$tarball"
	rm -rf "$$root"
	echo "$$tarball"

clean: ## Remove everything that was built
	cargo clean
