//! Ports nobody speaks HTTP on.

/// Ports an operator's URL may not name unless `egress.allow_ports` lifts them. Sorted.
///
/// The first part of each line is from the "bad ports" of the WHATWG Fetch standard: mail, shell,
/// file and chat protocols that a request can be smuggled into. To them come remote control
/// (Docker 2375, RDP 3389, VNC 5900, WinRM 5985), file sync (873) and what keeps data: Zookeeper
/// 2181, etcd 2379, the SQL servers 1433, 1521, 3306, 5432 and 50000, CouchDB 5984, Redis 6379,
/// Cassandra 7000 and 9042, Elasticsearch 9200, Memcached 11211, MongoDB 27017, RethinkDB 28015.
#[rustfmt::skip]
const BLOCKED: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95,
    101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179,
    389, 427, 445, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587,
    601, 623, 636, 873, 989, 990, 993, 995,
    1433, 1434, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2377, 2379, 2380,
    3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5900, 5984, 5985, 5986,
    6000, 6379, 6380, 6432, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
    7000, 7001, 9042, 9160, 9200, 9300, 10080, 11211, 26379, 27017, 27018, 27019, 28015, 50000,
];

/// Whether `port` is on the block list.
pub(super) fn is_blocked(port: u16) -> bool {
    BLOCKED.binary_search(&port).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-95
    #[test]
    fn the_block_list_is_sorted_and_leaves_web_ports_alone() {
        assert!(BLOCKED.is_sorted_by(|a, b| a < b));
        for port in [
            22, 23, 25, 110, 143, 445, 3306, 5432, 6379, 9200, 11211, 27017,
        ] {
            assert!(is_blocked(port), "{port}");
        }
        for port in [80, 443, 3000, 4000, 5000, 8000, 8080, 8443, 8317, 11434] {
            assert!(!is_blocked(port), "{port}");
        }
    }
}
