"""The SQL that operators have run for a Domain, as fixed scripts for psql.

Nothing that an author writes is part of these texts: names and passwords come from the environment through psql's
`\\getenv` and are quoted by psql as identifiers (:"x") or literals (:'x'). No script holds a dollar sign: in
a container's command Kubernetes makes one of two, so that $$ quotes nothing.
"""

from __future__ import annotations

from typing import Final

_PSQL: Final = "psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1"


def shell(script: str) -> list[str]:
    """The command of a container that runs a script."""
    return ["sh", "-c", f"set -eu\n{_psql(script)}"]


def drop_shell() -> list[str]:
    """The command that drops a schema as its owner; what it finds in the database becomes the termination message.

    A role can end its own sessions and nobody else's, so the app's are ended as the app, in another database than the
    one that it is shut out of. Where that cannot be, the report names them.
    """
    app = 'PGUSER="$AMEIDE_APP_ROLE" PGPASSWORD="${AMEIDE_APP_PASSWORD-}" PGDATABASE=postgres'
    end = f"if ! {app} {_psql(END_OWN)}then echo 'the sessions of the app were not ended' >&2; fi\n"
    # Not psql in a pipe: there the shell would take the last command's success for psql's.
    drop = f"answer=$({_psql(DROP_SCHEMA)})\nprintf '%s\\n' \"$answer\" | tee /dev/termination-log\n"
    return ["sh", "-c", f"set -eu\n{_psql(SHUT_OUT)}{end}{drop}"]


def _psql(script: str) -> str:
    return f"{_PSQL} <<'SQL'\n{script}\nSQL\n"


GRANTS: Final = r"""
\getenv app AMEIDE_APP_ROLE
\getenv schema DB_SCHEMA
\getenv database PGDATABASE
BEGIN;
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"app";
GRANT USAGE ON SCHEMA :"schema" TO :"app";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA :"schema" TO :"app";
GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA :"schema" TO :"app";
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA :"schema" TO :"app";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO :"app";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" GRANT EXECUTE ON ROUTINES TO :"app";
COMMIT;
"""
"""As the owner: the app may use what is in the schema, and what migrations will put there."""

FREE_NAMES: Final = r"""
\set VERBOSITY terse
\getenv app AMEIDE_APP_ROLE
\getenv owner AMEIDE_OWNER_ROLE
\getenv database AMEIDE_DATABASE
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'database') AS database_taken,
    EXISTS (SELECT FROM pg_roles WHERE rolname = :'app') AS app_taken,
    EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') AS owner_taken \gset
\if :database_taken
  DO 'BEGIN RAISE EXCEPTION ''DatabaseNameTaken: the database exists and was not made for this Domain''; END';
\endif
\if :owner_taken
  DO 'BEGIN RAISE EXCEPTION ''DatabaseNameTaken: the role of the owner exists and was not made for this Domain''; END';
\endif
\if :app_taken
  DO 'BEGIN RAISE EXCEPTION ''DatabaseNameTaken: the role of the app exists and was not made for this Domain''; END';
\endif
"""
"""As whoever may log in: no database and no role of these names was made by hand."""

PROVISION: Final = r"""
\getenv app AMEIDE_APP_ROLE
\getenv owner AMEIDE_OWNER_ROLE
\getenv app_password AMEIDE_APP_PASSWORD
\getenv owner_password AMEIDE_OWNER_PASSWORD
\getenv database AMEIDE_DATABASE
\getenv schema DB_SCHEMA
\getenv claim AMEIDE_CLAIM
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname IN (:'app', :'owner')
    AND shobj_description(oid, 'pg_authid') IS DISTINCT FROM :'claim') AS role_taken \gset
\if :role_taken
  DO 'BEGIN RAISE EXCEPTION ''DatabaseNameTaken: the role exists and was not made for this Domain''; END';
\endif
SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') AS database_missing \gset
\if :database_missing
  CREATE DATABASE :"database";
  COMMENT ON DATABASE :"database" IS :'claim';
  REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
\endif
\connect :"database"
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SELECT EXISTS (SELECT FROM pg_namespace
    WHERE nspname = :'schema' AND pg_get_userbyid(nspowner) <> :'owner') AS schema_taken \gset
\if :schema_taken
  DO 'BEGIN RAISE EXCEPTION ''DatabaseNameTaken: the schema exists and was not made for this Domain''; END';
\endif
BEGIN;
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY[:'owner', :'app']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"owner" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
ALTER ROLE :"app" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'app_password';
COMMENT ON ROLE :"owner" IS :'claim';
COMMENT ON ROLE :"app" IS :'claim';
GRANT CONNECT ON DATABASE :"database" TO :"owner", :"app";
CREATE SCHEMA IF NOT EXISTS :"schema" AUTHORIZATION :"owner";
COMMENT ON SCHEMA :"schema" IS :'claim';
COMMIT;
"""
"""As superuser, in a shared database: roles and schema that bear this Domain's claim, or a refusal.

A database that is not there is made, and stays the superuser's: its owner could drop it with the schemas of others.
The claim is on the roles, where a migration cannot change it; the schema is known by its owner. The statements that
hold passwords are kept out of the server's log.
"""

SHUT_OUT: Final = r"""
\getenv app AMEIDE_APP_ROLE
REVOKE CONNECT, TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
SELECT format('REVOKE CONNECT ON DATABASE %I FROM %I', current_database(), rolname)
    FROM pg_roles WHERE rolname = :'app' \gexec
"""
"""As the owner: the app begins no session any more."""

END_OWN: Final = r"""
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
    WHERE usename = current_user AND pid <> pg_backend_pid() \gset
"""
"""As any role: its other sessions end."""

DROP_SCHEMA: Final = r"""
\getenv schema DB_SCHEMA
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
    WHERE usename = current_user AND pid <> pg_backend_pid() \gset
CREATE TEMPORARY VIEW others AS SELECT format('%s (pid %s)', usename, pid) AS session FROM pg_stat_activity
    WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid() LIMIT 10;
SELECT string_agg(session, ', ') AS sessions FROM others \gset
\if :{?sessions}
  \warn open sessions: :sessions
\endif
SET lock_timeout = '30s';
DROP SCHEMA IF EXISTS :"schema" CASCADE;
CREATE TEMPORARY VIEW foreigners AS SELECT nspname
    FROM pg_namespace AS n WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'
    AND (nspname <> 'public' OR EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = n.oid
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')));
SELECT NOT EXISTS (SELECT FROM foreigners) AS left_alone \gset
\if :left_alone
  SELECT format('REVOKE CONNECT ON DATABASE %I FROM %I', datname, rolname)
      FROM pg_database, aclexplode(datacl) JOIN pg_roles ON pg_roles.oid = grantee
      WHERE datname = current_database() AND privilege_type = 'CONNECT' AND rolname <> current_user \gexec
  DO 'BEGIN FOR i IN 1..30 LOOP
      PERFORM pg_stat_clear_snapshot();
      EXIT WHEN NOT EXISTS (SELECT FROM others);
      PERFORM pg_sleep(0.1);
  END LOOP; END';
\endif
SELECT json_build_object(
    'foreignSchemas', (SELECT coalesce(json_agg(nspname ORDER BY nspname), '[]') FROM foreigners),
    'sessions', (SELECT coalesce(json_agg(session), '[]') FROM others));
"""
"""As the owner: its other sessions end and the schema goes; what else lives in the database is reported.

If nothing does, no role but a superuser begins a session any more; those that are open, and not the owner's to end, are
reported: they hold the database, which autovacuum, a session without a user, does not.
"""

DROP_SHARED: Final = r"""
\getenv app AMEIDE_APP_ROLE
\getenv owner AMEIDE_OWNER_ROLE
\getenv database AMEIDE_DATABASE
\getenv schema DB_SCHEMA
\getenv claim AMEIDE_CLAIM
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity JOIN pg_roles ON rolname = usename
    WHERE usename IN (:'app', :'owner') AND shobj_description(pg_roles.oid, 'pg_authid') = :'claim' \gset
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'database') AS there \gset
\if :there
  \connect :"database"
  SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace JOIN pg_roles ON pg_roles.oid = nspowner
      WHERE nspname = :'schema' AND rolname = :'owner'
      AND shobj_description(pg_roles.oid, 'pg_authid') = :'claim' \gexec
  SELECT format('DROP OWNED BY %I', rolname) FROM pg_roles
      WHERE rolname IN (:'app', :'owner') AND shobj_description(oid, 'pg_authid') = :'claim'
      AND rolname <> (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()) \gexec
  SELECT shobj_description(oid, 'pg_database') IS NOT DISTINCT FROM :'claim' AND NOT EXISTS (SELECT FROM pg_namespace
          WHERE nspname NOT IN ('information_schema', 'public') AND nspname NOT LIKE 'pg\_%')
      AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('public')) AS left_alone
      FROM pg_database WHERE datname = current_database() \gset
  \connect postgres
  \if :left_alone
    DROP DATABASE :"database" WITH (FORCE);
  \endif
\endif
SELECT format('DROP ROLE %I', rolname) FROM pg_roles
    WHERE rolname IN (:'app', :'owner') AND shobj_description(oid, 'pg_authid') = :'claim'
    AND NOT EXISTS (SELECT FROM pg_database WHERE datdba = pg_roles.oid) \gexec
"""
"""As superuser, in a shared database: what bears this Domain's claim goes; the database if it is left empty."""
