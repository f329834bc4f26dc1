//! From settings to a plan of the data plane, with the door out that its upstreams are called
//! through. What did not change since the plan before is taken from there.

use super::egress::{Door, DoorParts};
use super::jwks::{Jwks, ManagementKeys};
use super::reload::fault;
use super::{Base, Others, memory};
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_config::ConfigError;
use tollkeep_config::settings::Settings;
use tollkeep_counters::Breakers;
use tollkeep_crypto::jwt::JwtKeys;
use tollkeep_gateway::Plan;
use tollkeep_gateway::plan::PlanParts;
use tollkeep_net::Descriptors;
use tollkeep_observe::metrics::Metrics;
use tollkeep_types::TenantId;

/// Makes plans.
pub(crate) struct Planner {
    metrics: Arc<Metrics>,
    /// The data listeners.
    bound: Vec<SocketAddr>,
    /// What doors out are made with.
    doors: DoorParts,
    /// A random name of this process.
    instance: String,
    /// Whose calls of nobody are.
    default_tenant: TenantId,
    /// They live on from plan to plan.
    breakers: Arc<Breakers>,
    door: Mutex<Option<Door>>,
    jwks: Jwks,
    management_keys: ManagementKeys,
}

/// A plan that may be taken.
pub(crate) struct Planned {
    plan: Plan,
    door: Door,
    management_keys: Option<Arc<JwtKeys>>,
}

impl Planner {
    /// Makes plans for this process.
    pub(crate) fn new(
        base: &Base,
        others: &Others,
        default_tenant: TenantId,
        descriptors: &Arc<Descriptors>,
        control: &tokio::runtime::Handle,
    ) -> Self {
        let mut instance = [0_u8; 8];
        base.entropy.fill(&mut instance);
        Self {
            metrics: Arc::clone(&base.metrics),
            bound: others.doors.clone(),
            doors: DoorParts {
                clock: Arc::clone(&base.clock),
                control: control.clone(),
                own: others.own.clone(),
                descriptors: Arc::clone(descriptors),
            },
            instance: format!("{:016x}", u64::from_be_bytes(instance)),
            default_tenant,
            breakers: Arc::new(Breakers::new(RandomState::new())),
            door: Mutex::default(),
            jwks: Jwks::new(&base.clock, &base.metrics, control),
            management_keys: ManagementKeys::default(),
        }
    }

    /// The breakers of the upstreams.
    pub(crate) fn breakers(&self) -> &Arc<Breakers> {
        &self.breakers
    }

    /// The keys at the management listener's front door, as they are by the plan in force.
    pub(crate) fn management_keys(&self) -> ManagementKeys {
        Arc::clone(&self.management_keys)
    }

    /// Makes the plan that follows `before`. Blocks.
    ///
    /// # Errors
    /// What can't be planned: no resolver, faults of certificates, settings that contradict each
    /// other.
    pub(crate) fn plan(
        &self,
        settings: &Settings,
        before: Option<&Plan>,
    ) -> Result<Planned, Vec<ConfigError>> {
        let last = self.last_door();
        let door = self.doors.door(settings, last.as_ref())?;
        let door_keys = self.jwks.of(settings, &door.dialer, &door.tls.of_all);
        let parts = PlanParts {
            metrics: &self.metrics,
            bound: &self.bound,
            tls: &door.tls,
            dialer: door.dialer.clone(),
            instance: &self.instance,
            default_tenant: self.default_tenant,
            breakers: &self.breakers,
            jwt_keys: door_keys.data.as_ref(),
            before,
            now: self.doors.clock.wall(),
            memory_bytes_max: memory::bound(&settings.server.limits),
        };
        let plan =
            Plan::new(settings, &parts).map_err(|error| vec![fault("", &error.to_string())])?;
        Ok(Planned {
            plan,
            door,
            management_keys: door_keys.management,
        })
    }

    /// The door of the plan in force.
    pub(crate) fn last_door(&self) -> Option<Door> {
        let last = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// The plan, whose door the next one may go on with.
    pub(crate) fn take(&self, planned: Planned) -> Arc<Plan> {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(planned.door);
        self.management_keys.store(planned.management_keys);
        Arc::new(planned.plan)
    }
}
