"""The SQL that operators have run for a Domain, as fixed scripts for psql.

Nothing that an author writes is part of these texts: names and passwords come from the environment through psql's
`\\getenv` and are quoted by psql as identifiers (:"x") or literals (:'x').
"""

from __future__ import annotations

from typing import Final

_PSQL: Final = "psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1"


def shell(script: str, *, report: bool = False) -> list[str]:
    """The command of a container that runs a script; its output becomes the termination message if `report`."""
    output = " | tee /dev/termination-log" if report else ""
    return ["sh", "-c", f"set -eu\n{_PSQL} <<'SQL'{output}\n{script}\nSQL\n"]


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
  DO $$ BEGIN RAISE EXCEPTION 'DatabaseNameTaken: the role exists and was not made for this Domain'; END $$;
\endif
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY[:'owner', :'app']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"owner" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
ALTER ROLE :"app" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD :'app_password';
COMMENT ON ROLE :"owner" IS :'claim';
COMMENT ON ROLE :"app" IS :'claim';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
GRANT CONNECT ON DATABASE :"database" TO :"owner", :"app";
\connect :"database"
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :'schema'
    AND obj_description(oid, 'pg_namespace') IS DISTINCT FROM :'claim') AS schema_taken \gset
\if :schema_taken
  DO $$ BEGIN RAISE EXCEPTION 'DatabaseNameTaken: the schema exists and was not made for this Domain'; END $$;
\endif
BEGIN;
CREATE SCHEMA IF NOT EXISTS :"schema" AUTHORIZATION :"owner";
COMMENT ON SCHEMA :"schema" IS :'claim';
COMMIT;
"""
"""As superuser, in a shared database: roles and schema that bear this Domain's claim, or a refusal."""

DROP_SCHEMA: Final = r"""
\getenv schema DB_SCHEMA
DROP SCHEMA IF EXISTS :"schema" CASCADE;
SELECT json_build_object('foreignSchemas', coalesce(json_agg(nspname ORDER BY nspname), '[]'::json))
    FROM pg_namespace WHERE nspname NOT IN ('information_schema', 'public') AND nspname NOT LIKE 'pg\_%';
"""
"""As the owner: the schema goes; what else lives in the database is reported."""

DROP_SHARED: Final = r"""
\getenv app AMEIDE_APP_ROLE
\getenv owner AMEIDE_OWNER_ROLE
\getenv database AMEIDE_DATABASE
\getenv schema DB_SCHEMA
\getenv claim AMEIDE_CLAIM
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity WHERE usename IN (:'app', :'owner') \gset
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'database') AS there \gset
\if :there
  \connect :"database"
  SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
      WHERE nspname = :'schema' AND obj_description(oid, 'pg_namespace') = :'claim' \gexec
  SELECT format('DROP OWNED BY %I', rolname) FROM pg_roles
      WHERE rolname IN (:'app', :'owner') AND shobj_description(oid, 'pg_authid') = :'claim'
      AND rolname <> (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()) \gexec
\endif
SELECT format('DROP ROLE %I', rolname) FROM pg_roles
    WHERE rolname IN (:'app', :'owner') AND shobj_description(oid, 'pg_authid') = :'claim'
    AND NOT EXISTS (SELECT FROM pg_database WHERE datdba = pg_roles.oid) \gexec
"""
"""As superuser, in a shared database: only what bears this Domain's claim goes."""
