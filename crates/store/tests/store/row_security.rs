//! What PostgreSQL itself hides and refuses, whatever a statement asks for.

use crate::server::Database;
use crate::world::{Home, START, World, management_secret};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::sync::Arc;
use tollkeep_crypto::SystemEntropy;
use tollkeep_store::{
    Migrate, NewManagementKey, OpenError, Place, PostgresOptions, Role, Scope, Store, StoreOptions,
};
use tollkeep_types::WallMillis;

/// Tables with rows of tenants, and the column that says whose.
const OF_TENANTS: &[(&str, &str)] = &[
    ("tenants", "id"),
    ("projects", "tenant_id"),
    ("tokens", "tenant_id"),
    ("management_keys", "tenant_id"),
    ("credentials", "tenant_id"),
    ("budgets", "tenant_id"),
];

/// Two tenants, each with a project, a token, and a management key.
async fn two_tenants() -> (World, Database, String) {
    let (world, a, b) = crate::tenancy::two_tenants(World::on_server().await).await;
    let store = &world.store;
    let new = tollkeep_store::NewProject {
        name: "b".to_owned(),
        ..tollkeep_store::NewProject::default()
    };
    let project = store.create_project(b, new).await.unwrap();
    world.token(1).await;
    let new = tollkeep_store::NewToken {
        project_id: project.id,
        ..world.new_token(2).await
    };
    store.create_token(b, new).await.unwrap();
    for (scope, text) in [(a, 3), (b, 4)] {
        let new = NewManagementKey {
            operator_id: None,
            name: "k".to_owned(),
            role: Role::TenantAdmin,
            scopes: None,
            allowed_ips: Vec::new(),
            secret: management_secret(text),
            expires_at: WallMillis::MAX,
            created_by: None,
        };
        store.create_management_key(scope, new).await.unwrap();
    }
    for (scope, byte) in [(a, 6), (b, 7)] {
        let Scope::Tenant(tenant_id) = scope else {
            panic!("a tenant");
        };
        let new = tollkeep_store::NewCredential {
            tenant_id,
            ..crate::credential::new(&world, byte)
        };
        store.put_credential(scope, new, |_| None).await.unwrap();
        let new = crate::budget::new(tenant_id, "daily");
        store.create_budget(scope, new).await.unwrap();
    }
    let revoked = world.token(5).await;
    store.revoke_token(a, revoked.id, "x").await.unwrap();
    let tenant = store.default_tenant().id.to_string();
    let database = match &world.home {
        Home::Server(database) => database.again(),
        Home::Folder(_) => panic!("only for PostgreSQL"),
    };
    (world, database, tenant)
}

async fn tables(connection: &mut PgConnection) -> Vec<String> {
    let tables = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p')
      AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations' ORDER BY 1";
    sqlx::query_scalar(tables)
        .fetch_all(connection)
        .await
        .unwrap()
}

async fn count(connection: &mut PgConnection, table: &str) -> Result<i64, String> {
    let count = format!("SELECT count(*) FROM {table}");
    let count = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(connection);
    count.await.map_err(|error| error.to_string())
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<u64, String> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection);
    let done = done.await.map_err(|error| error.to_string())?;
    Ok(done.rows_affected())
}

const REFUSED: [&str; 2] = ["violates row-level security policy", "permission denied"];

fn is_refused(outcome: &Result<u64, String>) -> bool {
    let refusal = outcome.as_ref().err();
    refusal.is_some_and(|told| REFUSED.iter().any(|refused| told.contains(refused)))
}

// ID-82
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn every_table_forces_row_level_security_by_policies_for_both_roles() {
    let (world, database, _) = two_tenants().await;
    let mut jobs = database.connect_as("tollkeep_jobs").await;
    let unforced = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p')
      AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
      AND NOT (relrowsecurity AND relforcerowsecurity)";
    let unforced: Vec<String> = sqlx::query_scalar(unforced)
        .fetch_all(&mut jobs)
        .await
        .unwrap();
    assert_eq!(unforced, Vec::<String>::new());
    let unguarded = "SELECT table_name::text FROM information_schema.columns
      WHERE table_schema = 'public' AND column_name = 'tenant_id' AND NOT EXISTS (
        SELECT 1 FROM pg_policies WHERE tablename = table_name AND policyname = 'tenant_isolation'
          AND roles = '{tollkeep_app}' AND cmd = 'ALL'
          AND qual LIKE '%tollkeep.tenant%' AND with_check LIKE '%tollkeep.tenant%')";
    let unguarded: Vec<String> = sqlx::query_scalar(unguarded)
        .fetch_all(&mut jobs)
        .await
        .unwrap();
    assert_eq!(unguarded, Vec::<String>::new());
    let public = "SELECT count(*) FROM pg_policies WHERE roles <> '{tollkeep_app}'
      AND roles <> '{tollkeep_jobs}'
      AND NOT (policyname = 'owner_marks' AND roles = '{tollkeep_owner}')";
    let public: i64 = sqlx::query_scalar(public)
        .fetch_one(&mut jobs)
        .await
        .unwrap();
    assert_eq!(public, 0, "a policy is for one role");
    drop(world);
}

// ID-81 ID-82
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn without_a_tenant_every_table_is_empty_and_takes_nothing() {
    let (world, database, tenant) = two_tenants().await;
    let mut app = database.connect_as("tollkeep_app").await;
    let mut jobs = database.connect_as("tollkeep_jobs").await;
    let tables = tables(&mut jobs).await;
    assert!(tables.len() >= 10, "{tables:?}");
    let mut filled = 0;
    for table in &tables {
        filled += count(&mut jobs, table).await.unwrap().min(1);
        match count(&mut app, table).await {
            Ok(rows) => assert_eq!(rows, 0, "{table}"),
            Err(told) => assert!(told.contains("permission denied"), "{table}: {told}"),
        }
        let copy = format!("INSERT INTO {table} SELECT * FROM {table}");
        let copied = run(&mut app, copy).await;
        assert!(copied == Ok(0) || copied.is_err(), "{table}: {copied:?}");
    }
    assert!(filled >= 7, "there is something to hide");
    for statement in [
        format!("INSERT INTO projects VALUES ('prj_1', '{tenant}', 's', 'n', true, '{{}}', 1, 1)"),
        "INSERT INTO lineages VALUES ('lin_1', 0)".to_owned(),
        r"INSERT INTO blocklist VALUES (decode(repeat('00', 32), 'hex'), 1)".to_owned(),
        "INSERT INTO changes (what, row_id, at) VALUES ('project', 'x', 1)".to_owned(),
        format!("INSERT INTO tenants VALUES ('{tenant}x', 'x', 'x', 1)"),
        "INSERT INTO meta VALUES ('a', 'b')".to_owned(),
    ] {
        let outcome = run(&mut app, statement.clone()).await;
        assert!(is_refused(&outcome), "{statement}: {outcome:?}");
    }
    drop(world);
}

// ID-82
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn with_one_tenant_the_rows_of_another_are_not_there() {
    let (world, database, tenant) = two_tenants().await;
    let mut app = database.connect_as("tollkeep_app").await;
    let begin = format!("BEGIN; SELECT set_config('tollkeep.tenant', '{tenant}', true)");
    run(&mut app, begin).await.unwrap();
    for (table, column) in OF_TENANTS {
        let mine = format!("{table} WHERE {column} = '{tenant}'");
        let others = format!("{table} WHERE {column} IS DISTINCT FROM '{tenant}'");
        assert!(count(&mut app, &mine).await.unwrap() > 0, "{table}");
        assert_eq!(count(&mut app, &others).await, Ok(0), "{table}");
        if *table != "tenants" {
            let changed = run(
                &mut app,
                format!("UPDATE {table} SET id = 'x' WHERE {column} <> '{tenant}'"),
            );
            assert_eq!(changed.await, Ok(0), "{table}");
            let deleted = run(
                &mut app,
                format!("DELETE FROM {table} WHERE {column} <> '{tenant}'"),
            );
            assert_eq!(deleted.await, Ok(0), "{table}");
        }
    }
    let lineages = count(&mut app, "lineages").await.unwrap();
    assert_eq!(lineages, 2, "those of its own tokens");
    for statement in [
        "INSERT INTO projects VALUES ('prj_1', 'ten_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 's', 'n', true, '{}', 1, 1)",
        "UPDATE projects SET tenant_id = 'ten_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'",
        "UPDATE tokens SET tenant_id = 'ten_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'",
        "INSERT INTO changes (what, row_id, tenant_id, at) VALUES ('project', 'x', 'ten_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 1)",
        "SELECT * FROM meta",
        "SELECT * FROM service_tokens",
        "SELECT * FROM changes",
        "SET LOCAL ROLE tollkeep_jobs",
        "SET LOCAL row_security = off; SELECT * FROM tokens",
        "ALTER TABLE tokens DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (a int)",
    ] {
        run(&mut app, "SAVEPOINT before".to_owned()).await.unwrap();
        let outcome = run(&mut app, statement.to_owned()).await;
        assert!(outcome.is_err(), "{statement}: {outcome:?}");
        run(&mut app, "ROLLBACK TO before".to_owned())
            .await
            .unwrap();
    }
    run(&mut app, "COMMIT".to_owned()).await.unwrap();
    assert_eq!(
        count(&mut app, "tokens").await,
        Ok(0),
        "the tenant ended with the transaction"
    );
    drop(world);
}

async fn refusal(options: PostgresOptions, migrate: Migrate) -> String {
    let place = Place::Postgres(Box::new(options));
    let store_options = StoreOptions {
        migrate,
        ..StoreOptions::default()
    };
    let clock = crate::world::clock(START);
    let opened = Store::open(&place, &store_options, clock, Arc::new(SystemEntropy)).await;
    match opened {
        Ok(_) => "opened".to_owned(),
        Err(
            error @ (OpenError::Server(_) | OpenError::Unreachable(_) | OpenError::Older { .. }),
        ) => error.to_string(),
        Err(error) => panic!("{error:?}"),
    }
}

// ID-81
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn logins_that_rows_are_not_hidden_from_are_refused() {
    let (world, database, _) = two_tenants().await;
    let own = database.name.clone();
    let roles = [
        ("passes", "LOGIN BYPASSRLS IN ROLE tollkeep_app"),
        ("owns", "LOGIN IN ROLE tollkeep_owner, tollkeep_app"),
        ("makes", "LOGIN CREATEROLE IN ROLE tollkeep_app"),
        ("both", "LOGIN IN ROLE tollkeep_app, tollkeep_jobs"),
        ("nobody", "LOGIN"),
        ("member", "LOGIN IN ROLE tollkeep_app"),
    ];
    for (name, what) in roles {
        database
            .run(format!("CREATE ROLE {own}_{name} {what}"))
            .await;
    }
    let grant = format!("GRANT SELECT ON schema_migrations TO {own}_nobody");
    database.run(grant).await;
    let with = |app: &str| PostgresOptions {
        app: database.login(app),
        ..database.options()
    };
    let superuser = database.superuser();
    let told = refusal(with(&superuser), Migrate::Auto).await;
    assert!(
        told.contains("store.url: the login is a superuser"),
        "{told}"
    );
    for (name, part) in [
        ("passes", "has BYPASSRLS"),
        ("owns", "owns the tables"),
        ("makes", "has CREATEROLE"),
        ("both", "is a member of tollkeep_jobs"),
        ("nobody", "is no member of tollkeep_app"),
        ("member", "opened"),
    ] {
        let told = refusal(with(&format!("{own}_{name}")), Migrate::Auto).await;
        assert!(told.contains(part), "{name}: {told}");
    }
    let options = PostgresOptions {
        jobs: database.login(&superuser),
        ..database.options()
    };
    let told = refusal(options, Migrate::Auto).await;
    assert!(
        told.contains("store.jobs_url: the login is a superuser"),
        "{told}"
    );
    for (name, _) in roles {
        let role = format!("{own}_{name}");
        database
            .run(format!("DROP OWNED BY {role}; DROP ROLE {role}"))
            .await;
    }
    drop(world);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn the_schema_is_made_by_its_owner_or_not_at_all() {
    let database = Database::new().await;
    let without_owner = PostgresOptions {
        owner: None,
        ..database.options()
    };
    let told = refusal(without_owner.clone(), Migrate::Auto).await;
    assert!(
        told.contains("schema version 0") && told.contains("store.owner_url"),
        "{told}"
    );
    let told = refusal(database.options(), Migrate::Check).await;
    assert!(
        told.contains("schema version 0") && told.contains("store.migrate"),
        "{told}"
    );
    // Several at once: each step is made once.
    let all = (0..4).map(|_| refusal(database.options(), Migrate::Auto));
    let mut opened = Vec::new();
    for one in all.map(tokio::spawn).collect::<Vec<_>>() {
        opened.push(one.await.unwrap());
    }
    assert_eq!(opened, ["opened"; 4]);
    assert_eq!(refusal(without_owner, Migrate::Check).await, "opened");
    let mut jobs = database.connect_as("tollkeep_jobs").await;
    assert_eq!(count(&mut jobs, "tenants").await, Ok(1));
    assert_eq!(count(&mut jobs, "projects").await, Ok(1));
}

// ID-80
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn what_is_asked_for_a_tenant_is_asked_as_that_tenant() {
    let (world, database, _) = two_tenants().await;
    // Were the store to forget its own conditions, the server would still hide the rows: a policy
    // that hides everything shows that the statement was subject to one.
    database
        .run(
            "CREATE POLICY nothing ON tokens AS RESTRICTIVE TO tollkeep_app USING (false)"
                .to_owned(),
        )
        .await;
    let a = Scope::Tenant(world.store.default_tenant().id);
    let page = crate::world::first(10);
    let filter = tollkeep_store::TokenFilter::default();
    let tokens = world.store.tokens(a, filter, page).await.unwrap();
    assert_eq!(tokens.rows.len(), 0);
    let all = world
        .store
        .tokens(crate::world::SERVICE, filter, page)
        .await;
    assert_eq!(all.unwrap().rows.len(), 3);
}
