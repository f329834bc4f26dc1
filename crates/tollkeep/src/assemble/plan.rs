//! From settings to a plan of the data plane, with the door out that its upstreams are called
//! through. What did not change since the plan before is taken from there.

use super::jwks::{Jwks, ManagementKeys};
use super::reload::fault;
use super::{Base, Others, memory};
use std::hash::RandomState;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_config::ConfigError;
use tollkeep_config::settings::{Egress, ResolverMode, Settings};
use tollkeep_counters::Breakers;
use tollkeep_crypto::jwt::JwtKeys;
use tollkeep_gateway::Plan;
use tollkeep_gateway::plan::PlanParts;
use tollkeep_net::resolve::{Names, ResolverSettings};
use tollkeep_net::tls::ClientConfig;
use tollkeep_net::{Descriptors, Dialer};
use tollkeep_observe::metrics::Metrics;
use tollkeep_policy::egress::EgressPolicy;
use tollkeep_types::Clock;

/// Makes plans.
pub(crate) struct Planner {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    control: tokio::runtime::Handle,
    /// The data listeners.
    bound: Vec<SocketAddr>,
    /// Every address of the process.
    own: Vec<SocketAddr>,
    /// What sockets may take of the process's file descriptors.
    descriptors: Arc<Descriptors>,
    /// A random name of this process.
    instance: String,
    /// They live on from plan to plan.
    breakers: Arc<Breakers>,
    door: Mutex<Option<Door>>,
    jwks: Jwks,
    management_keys: ManagementKeys,
}

/// The way out, as long as nothing about it changes.
#[derive(Clone)]
struct Door {
    egress: Egress,
    /// What was in the file of root certificates.
    roots: Option<Vec<u8>>,
    tls: Arc<ClientConfig>,
    dialer: Dialer,
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
        descriptors: &Arc<Descriptors>,
        control: &tokio::runtime::Handle,
    ) -> Self {
        let mut instance = [0_u8; 8];
        base.entropy.fill(&mut instance);
        Self {
            metrics: Arc::clone(&base.metrics),
            clock: Arc::clone(&base.clock),
            control: control.clone(),
            bound: others.doors.clone(),
            own: others.own.clone(),
            descriptors: Arc::clone(descriptors),
            instance: format!("{:016x}", u64::from_be_bytes(instance)),
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
    /// What can't be planned: no resolver, no TLS roots, settings that contradict each other.
    pub(crate) fn plan(
        &self,
        settings: &Settings,
        before: Option<&Plan>,
    ) -> Result<Planned, ConfigError> {
        let door = self.door(&settings.egress)?;
        let door_keys = self.jwks.of(settings, &door.dialer, &door.tls);
        let parts = PlanParts {
            metrics: &self.metrics,
            bound: &self.bound,
            tls: Arc::clone(&door.tls),
            dialer: door.dialer.clone(),
            instance: &self.instance,
            breakers: &self.breakers,
            jwt_keys: door_keys.data.as_ref(),
            before,
            memory_bytes_max: memory::bound(&settings.server.limits),
        };
        let plan = Plan::new(settings, &parts).map_err(|error| fault("", &error.to_string()))?;
        Ok(Planned {
            plan,
            door,
            management_keys: door_keys.management,
        })
    }

    /// The plan, whose door the next one may go on with.
    pub(crate) fn take(&self, planned: Planned) -> Arc<Plan> {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(planned.door);
        self.management_keys.store(planned.management_keys);
        Arc::new(planned.plan)
    }

    /// The door of the last plan if it is still the same; connections through it live on then.
    fn door(&self, egress: &Egress) -> Result<Door, ConfigError> {
        let wrong = |problem: String| fault("egress.ca_file", &problem);
        let roots = egress.ca_file.as_deref().map(std::fs::read).transpose();
        let roots = roots.map_err(|error| {
            let path = egress.ca_file.as_deref().unwrap_or(Path::new(""));
            wrong(format!("can't read {}: {}", path.display(), error.kind()))
        })?;
        let last = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.clone();
        if let Some(last) = last
            && last.egress == *egress
            && last.roots == roots
        {
            return Ok(last);
        }
        let tls = tollkeep_net::tls::client(egress.ca_file.as_deref())
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Door {
            egress: egress.clone(),
            roots,
            tls,
            dialer: self.dialer(egress)?,
        })
    }

    fn dialer(&self, egress: &Egress) -> Result<Dialer, ConfigError> {
        let resolver = ResolverSettings {
            servers: match &egress.resolver.mode {
                ResolverMode::System => Vec::new(),
                ResolverMode::Servers(servers) => servers.clone(),
            },
            timeout: egress.resolver.timeout,
            attempts: egress.resolver.attempts,
        };
        let entered = self.control.enter();
        let names = Names::start(&resolver, Arc::clone(&self.clock), &self.control);
        drop(entered);
        let names = names.map_err(|problem| fault("egress.resolver", &problem))?;
        let (ports, allowed) = (egress.ports.clone(), egress.allow_ports.clone());
        let policy =
            EgressPolicy::new(ports, allowed, self.own.clone()).only_to(egress.hosts.clone());
        let descriptors = Arc::clone(&self.descriptors);
        Ok(Dialer::new(names, Arc::new(policy), descriptors))
    }
}
