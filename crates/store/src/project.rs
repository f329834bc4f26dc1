//! Projects: owners of tokens.

mod slug;

pub(crate) use slug::{check_slug, slug_like};

use crate::database::GATEWAY;
use crate::error::is_duplicate_of;
use crate::follow::Changed;
use crate::live::Change;
use crate::open::Inner;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::write::Write;
use crate::{
    CallLimits, Conflict, Page, PageRequest, ProjectRevocation, Scope, Store, StoreError,
    credential, token,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::{CredentialId, ProjectId, TenantId, WallMillis};

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 200;
/// Why the tokens of a deleted project were revoked, in their records.
const DELETED: &str = "the project was deleted";
/// Slug and name of the project made at first start.
const DEFAULT: &str = "default";

/// An owner of tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Its short name, unique in its tenant.
    pub slug: String,
    /// Its name, unique in its tenant.
    pub name: String,
    /// Whether its tokens may be used.
    pub is_active: bool,
    /// Rate limits that its tokens inherit.
    pub limits: CallLimits,
    /// What may be asked for with its tokens.
    pub policy: Option<Arc<CallPolicy>>,
    /// The credentials it may use, by id or as `provider/name`; `None`: all that it could.
    pub allowed_credentials: Option<Vec<String>>,
    /// Free pairs.
    pub metadata: BTreeMap<String, String>,
    /// Tokens on record, ended ones included.
    pub token_count: u64,
    /// When it was made.
    pub created_at: WallMillis,
    /// When it last changed.
    pub updated_at: WallMillis,
    /// Since when it is switched off.
    pub deactivated_at: Option<WallMillis>,
}

/// What went with a project.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeletedProject {
    /// What became of its tokens.
    pub tokens: ProjectRevocation,
    /// The credentials that only it could use: deleted.
    pub credentials: Vec<CredentialId>,
}

/// A project to be made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NewProject {
    /// Its name, 1 to 200 characters.
    pub name: String,
    /// Its slug; made from the name if not given.
    pub slug: Option<String>,
    /// Rate limits that its tokens inherit.
    pub limits: CallLimits,
    /// What may be asked for with its tokens.
    pub policy: Option<Arc<CallPolicy>>,
    /// The credentials it may use.
    pub allowed_credentials: Option<Vec<String>>,
    /// Free pairs.
    pub metadata: BTreeMap<String, String>,
}

/// A project by either of its names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProjectRef<'a> {
    /// By id.
    Id(ProjectId),
    /// By slug, in the tenant of the scope.
    Slug(&'a str),
}

impl<'a> ProjectRef<'a> {
    /// An id if the text is one, else a slug.
    pub fn of(text: &'a str) -> Self {
        text.parse().map_or(Self::Slug(text), Self::Id)
    }
}

/// Whether a project's tokens may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProjectState {
    /// They may.
    Active,
    /// They are refused.
    Inactive,
}

/// What to change of a project; what is not given stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProjectChange {
    /// Its name, 1 to 200 characters.
    pub name: Option<String>,
    /// Its slug.
    pub slug: Option<String>,
    /// Whether its tokens may be used.
    pub state: Option<ProjectState>,
    /// Rate limits that its tokens inherit, all of them.
    pub limits: Option<CallLimits>,
    /// What may be asked for with its tokens; `None` inside: nothing of its own.
    pub policy: Option<Option<Arc<CallPolicy>>>,
    /// The credentials it may use; `None` inside: all that it could.
    pub allowed_credentials: Option<Option<Vec<String>>>,
    /// Free pairs.
    pub metadata: Option<BTreeMap<String, String>>,
}

impl ProjectChange {
    /// The members that stand in one statement, after the change.
    fn of(self, project: &Project) -> Result<Members, StoreError> {
        let policy = self.policy.unwrap_or_else(|| project.policy.clone());
        let allowed = self.allowed_credentials.as_ref();
        let allowed = allowed.unwrap_or(&project.allowed_credentials);
        Ok(Members {
            name: self.name.unwrap_or_else(|| project.name.clone()),
            slug: self.slug.unwrap_or_else(|| project.slug.clone()),
            limits: row::to_json(&self.limits.unwrap_or(project.limits))?,
            policy: row::json_text(policy.as_deref())?,
            allowed_credentials: row::json_text(allowed.as_ref())?,
            metadata: row::to_json(self.metadata.as_ref().unwrap_or(&project.metadata))?,
        })
    }
}

/// What an operator writes of a project, as the database keeps it.
struct Members {
    name: String,
    slug: String,
    limits: String,
    policy: Option<String>,
    allowed_credentials: Option<String>,
    metadata: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, slug, name, is_active, limits, policy, allowed_credentials, metadata,
               created_at, updated_at, deactivated_at,
               (SELECT count(*) FROM tokens WHERE tokens.project_id = projects.id) AS token_count
             FROM projects WHERE deleted_at IS NULL ",
            $rest
        )
    };
}

const BY_ID: &str = select!("AND id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const BY_SLUG: &str = select!("AND slug = $1 AND tenant_id = $2");

const LIST: &str = select!(
    "AND ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR (created_at, id) < ($2, $3))
     ORDER BY created_at DESC, id DESC LIMIT $4"
);

const ALL: &str = select!("");

const INSERT: &str = "INSERT INTO projects
  (id, tenant_id, slug, name, is_active, limits, policy, metadata, created_at, updated_at,
   allowed_credentials)
  VALUES ($1, $2, $3, $4, TRUE, $5, $6, $7, $8, $8, $9)";

const SET_ACTIVE: &str = "UPDATE projects SET is_active = $3, updated_at = $4,
    deactivated_at = CASE WHEN $3 THEN NULL ELSE $4 END
  WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2) AND is_active <> $3";

const UPDATE: &str = "UPDATE projects SET name = $2, slug = $3, limits = $4, policy = $5,
    metadata = $6, updated_at = $7, allowed_credentials = $8
  WHERE id = $1";

/// Name and slug are free for another one then.
const DELETE: &str = "UPDATE projects SET name = name || ' (deleted, ' || id || ')',
    slug = 'deleted-' || substr(id, 5), is_active = FALSE, deactivated_at = $2, updated_at = $2,
    deleted_at = $2
  WHERE id = $1";

impl Store {
    /// Makes a project in the tenant of the scope.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the tenant has a project of that name or slug,
    /// [`StoreError::Invalid`], or the disk.
    pub async fn create_project(
        &self,
        scope: Scope,
        new: NewProject,
    ) -> Result<Project, StoreError> {
        self.unattended(async move |inner| {
            let write = inner.begin(scope).await?;
            create(&inner, write, scope, &new).await
        })
        .await
    }

    /// One project.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn project(
        &self,
        scope: Scope,
        project: ProjectRef<'_>,
    ) -> Result<Project, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let statement = match project {
            ProjectRef::Id(id) => query(BY_ID).bind(id.to_string()).bind(scope.tenant()),
            ProjectRef::Slug(slug) => query(BY_SLUG)
                .bind(slug.to_owned())
                .bind(self.0.tenant_of(scope).to_string()),
        };
        read(&statement.fetch_one(&mut connection).await?)
    }

    /// Projects, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn projects(
        &self,
        scope: Scope,
        page: PageRequest<ProjectId>,
    ) -> Result<Page<Project>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let projects = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page.page(projects))
    }

    /// Switches a project on or off, as [`Self::change_project`] does.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn set_project_state(
        &self,
        scope: Scope,
        id: ProjectId,
        state: ProjectState,
    ) -> Result<Project, StoreError> {
        let change = ProjectChange {
            state: Some(state),
            ..ProjectChange::default()
        };
        self.change_project(scope, id, change).await
    }

    /// Changes a project. Its state takes effect on the next call of its tokens; setting what is
    /// set changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`] if the tenant has a project of that name,
    /// [`StoreError::Invalid`], or the disk.
    pub async fn change_project(
        &self,
        scope: Scope,
        id: ProjectId,
        change: ProjectChange,
    ) -> Result<Project, StoreError> {
        if let Some(name) = &change.name {
            check_name(name)?;
        }
        change.slug.as_deref().map_or(Ok(()), check_slug)?;
        self.unattended(async move |inner| {
            let now = millis(inner.wall.now());
            let mut write = inner.begin(scope).await?;
            let state = change.state;
            let is_of_members = change
                != ProjectChange {
                    state,
                    ..ProjectChange::default()
                };
            if is_of_members {
                let project = by_id(write.connection(), scope, id).await?;
                let members = change.of(&project)?;
                let updated = query(UPDATE)
                    .bind(id.to_string())
                    .bind(members.name)
                    .bind(members.slug)
                    .bind(members.limits)
                    .bind(members.policy)
                    .bind(members.metadata)
                    .bind(now)
                    .bind(members.allowed_credentials)
                    .execute(write.connection());
                updated.await.map_err(name_conflict)?;
            }
            if let Some(state) = state {
                query(SET_ACTIVE)
                    .bind(id.to_string())
                    .bind(scope.tenant())
                    .bind(state == ProjectState::Active)
                    .bind(now)
                    .execute(write.connection())
                    .await?;
            }
            let project = by_id(write.connection(), scope, id).await?;
            write.commit(&[Change::Project(&project)]).await?;
            Ok(project)
        })
        .await
    }
}

impl Store {
    /// Deletes a project: its tokens are revoked for good, the credentials that only it may use
    /// are deleted, and nothing finds it any more. Its records stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk; then everything is as it was.
    pub async fn delete_project(
        &self,
        scope: Scope,
        id: ProjectId,
    ) -> Result<DeletedProject, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let project = by_id(connection, scope, id).await?;
            let tokens = token::of_project(connection, id).await?;
            let (live, tokens) = token::revoke_all(connection, tokens, now, DELETED).await?;
            let credentials = credential::delete_of_project(connection, id).await?;
            query(DELETE)
                .bind(id.to_string())
                .bind(millis(now))
                .execute(connection)
                .await?;
            let project = Project {
                is_active: false,
                ..project
            };
            let mut changes = vec![Change::Project(&project)];
            changes.extend(live.iter().map(Change::Token));
            let gone = credentials.iter().copied().map(Changed::credential);
            let changed: Vec<_> = changes.iter().map(Changed::from).chain(gone).collect();
            let show = || {
                changes.iter().for_each(|change| inner.live.apply(*change));
                credentials
                    .iter()
                    .for_each(|id| inner.forget_credential(*id));
            };
            write.commit_then(&changed, show).await?;
            Ok(DeletedProject {
                tokens,
                credentials,
            })
        })
        .await
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(StoreError::Invalid(
            "name must be 1 to 200 printable characters",
        ));
    }
    Ok(())
}

impl Inner {
    /// The tenant that new rows of this scope belong to.
    pub(crate) fn tenant_of(&self, scope: Scope) -> TenantId {
        match scope {
            Scope::Tenant(id) => id,
            Scope::Service(_) => self.default_tenant.id,
        }
    }
}

/// Makes the default project if the default tenant has no project at all.
pub(crate) async fn ensure_default(inner: &Inner) -> Result<(), StoreError> {
    let mut write = inner.begin(GATEWAY).await?;
    if !all(write.connection()).await?.is_empty() {
        return Ok(());
    }
    let new = NewProject {
        name: DEFAULT.to_owned(),
        slug: Some(DEFAULT.to_owned()),
        ..NewProject::default()
    };
    create(inner, write, GATEWAY, &new).await.map(|_| ())
}

/// Every project, for the live table.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<Project>, StoreError> {
    let rows = query(ALL).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: ProjectId,
) -> Result<Project, StoreError> {
    let row = query(BY_ID)
        .bind(id.to_string())
        .bind(scope.tenant())
        .fetch_one(connection)
        .await?;
    read(&row)
}

async fn create(
    inner: &Inner,
    mut write: Write<'_>,
    scope: Scope,
    new: &NewProject,
) -> Result<Project, StoreError> {
    check_name(&new.name)?;
    new.slug.as_deref().map_or(Ok(()), check_slug)?;
    let id = ProjectId::new(inner.wall.clock(), inner.entropy.as_ref());
    let tenant = inner.tenant_of(scope).to_string();
    let slug = match &new.slug {
        Some(slug) => slug.clone(),
        None => slug::free_slug(write.connection(), &tenant, &new.name, id).await?,
    };
    let inserted = query(INSERT)
        .bind(id.to_string())
        .bind(tenant)
        .bind(slug)
        .bind(new.name.as_str())
        .bind(row::to_json(&new.limits)?)
        .bind(row::json_text(new.policy.as_deref())?)
        .bind(row::to_json(&new.metadata)?)
        .bind(millis(inner.wall.now()))
        .bind(row::json_text(new.allowed_credentials.as_ref())?)
        .execute(write.connection())
        .await;
    inserted.map_err(name_conflict)?;
    let project = by_id(write.connection(), scope, id).await?;
    write.commit(&[Change::Project(&project)]).await?;
    Ok(project)
}

fn name_conflict(error: sqlx::Error) -> StoreError {
    if is_duplicate_of(&error, "projects", "name") {
        StoreError::Conflict(Conflict::ProjectName)
    } else if is_duplicate_of(&error, "projects", "slug") {
        StoreError::Conflict(Conflict::ProjectSlug)
    } else {
        error.into()
    }
}

fn read(row: &Row) -> Result<Project, StoreError> {
    Ok(Project {
        id: row::id(row, "id")?,
        tenant_id: row::id(row, "tenant_id")?,
        slug: row::text(row, "slug")?,
        name: row::text(row, "name")?,
        is_active: row::value(row, "is_active")?,
        limits: row::json(row, "limits")?,
        policy: row::policy(row, "policy")?,
        allowed_credentials: row::json_if_set(row, "allowed_credentials")?,
        metadata: row::json(row, "metadata")?,
        token_count: row::number(row, "token_count")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        deactivated_at: row::time_if_set(row, "deactivated_at")?,
    })
}
