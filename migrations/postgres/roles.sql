-- What an administrator of PostgreSQL runs once, before the gateway is started for the first time:
--
--   psql -v app_password=… -v jobs_password=… -v migrate_password=… -f roles.sql postgres
--
-- tollkeep_app    asks for one tenant at a time, and sees that tenant's rows alone (store.url)
-- tollkeep_jobs   does the gateway's own work, for all tenants (store.jobs_url)
-- tollkeep_owner  owns the tables; nobody logs in as it
-- tollkeep_migrate may become the owner, to bring the schema up to date (store.owner_url)
CREATE ROLE tollkeep_owner NOLOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS;
CREATE ROLE tollkeep_app LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'app_password';
CREATE ROLE tollkeep_jobs LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'jobs_password';
CREATE ROLE tollkeep_migrate LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD :'migrate_password'
  IN ROLE tollkeep_owner;
CREATE DATABASE tollkeep OWNER tollkeep_owner;
