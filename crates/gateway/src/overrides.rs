//! What operators change while the gateway runs, over what the settings say: one snapshot, made
//! by the control plane and swapped in whole.

use std::time::Duration;
use tollkeep_policy::ip_list::AddedIps;

/// What holds besides the settings.
#[derive(Debug, Default)]
pub struct Overrides {
    /// Entries of the address lists.
    pub ips: AddedIps,
    /// Maintenance, where an operator switched it on.
    pub maintenance: Option<MaintenanceOverride>,
}

/// Maintenance that an operator switched on.
#[derive(Debug)]
pub struct MaintenanceOverride {
    /// What callers are told, instead of the settings' text.
    pub message: Option<String>,
    /// When they should come back, instead of what the settings say.
    pub retry_after: Option<Duration>,
}
