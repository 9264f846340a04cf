//! The extension module `zkcoord._core`: parse, call, wrap. No logic, no protocol.

mod arguments;
mod call;
mod canary;
mod cancel;
mod confd;
mod connection;
mod coordinator;
mod driver;
mod ensemble;
mod errors;
mod forwarder;
mod hold;
mod imported;
mod journal;
mod lease_record;
mod news;
mod outage;
mod party;
mod runtime;
mod semaphore;
mod signals;
mod spare_sockets;
mod status;
mod timed_lease;
mod znode;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::cancel::Cancel;
    #[pymodule_export]
    use super::confd::{confd_needed, confd_query, confd_salt, confd_types, ConfdSocket};
    #[pymodule_export]
    use super::connection::{is_setting_given, profile_name, Settings};
    #[pymodule_export]
    use super::coordinator::{
        coordinator_acquire, coordinator_foretell, coordinator_grant, coordinator_grant_if, coordinator_granted,
        coordinator_locks, coordinator_queue, coordinator_release, coordinator_set_policy, coordinator_settle,
    };
    #[pymodule_export]
    use super::ensemble::{
        ensemble_ask, ensemble_config, ensemble_leader, ensemble_member, ensemble_status, ensemble_step,
        ensemble_steps, ensemble_tree, ensemble_wait,
    };
    #[pymodule_export]
    use super::hold::Hold;
    #[pymodule_export]
    use super::lease_record::{
        lease_create, lease_format, lease_get, lease_list, lease_parse, lease_path, lease_release, lease_renew,
        lease_status, lease_update,
    };
    #[pymodule_export]
    use super::party::{party_join, party_leave, party_members};
    #[pymodule_export]
    use super::runtime::{close, finish, forked};
    #[pymodule_export]
    use super::semaphore::{acquire, evict, lock_holders, unlock};
    #[pymodule_export]
    use super::status::{neighbours, obstacles, pool_status, pools, remove_pool, set_max};
    #[pymodule_export]
    use super::timed_lease::{
        lease_acquire, lease_check, lease_news, lease_scalar, lease_seconds, lease_timeout, TimedLease,
    };
    #[pymodule_export]
    use super::znode::{
        digest_acl, znode_children, znode_create, znode_delete, znode_exists, znode_get, znode_get_acls, znode_set,
        znode_set_acls,
    };
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn begin(_: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        super::forwarder::begin();
        Ok(())
    }
}
