//! Parses the kernel's routing tables: which default routes and addresses this host has.
//!
//! In: the text of `/proc/net/route`, `/proc/net/ipv6_route` and `/proc/net/if_inet6`. Out: four facts.

/// The routes and addresses that decide which networks the host can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Whether there is an IPv4 default route.
    pub v4_default: bool,
    /// Whether there is an IPv4 route that is not on the loopback interface.
    pub v4_any: bool,
    /// Whether there is an IPv6 default route.
    pub v6_default: bool,
    /// Whether there is a global IPv6 address.
    pub v6_address: bool,
}

/// RTF_UP and RTF_REJECT (`linux/route.h`).
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// Parses the three tables; `None` if the first is invalid. The other two are empty on a host without IPv6.
pub fn read(route: &str, ipv6_route: &str, if_inet6: &str) -> Option<Routes> {
    let mut lines = route.lines();
    lines.next().filter(|head| head.starts_with("Iface"))?;
    let mut routes = Routes::default();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, flags, _, _, _, mask, ..] = fields[..] else { continue };
        if interface != "lo" && is_usable(flags) {
            routes.v4_any = true;
            routes.v4_default |= destination == "00000000" && mask == "00000000";
        }
    }
    for line in ipv6_route.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, .., flags, interface] = fields[..] else { continue };
        let is_default = length == "00" && destination.bytes().all(|digit| digit == b'0');
        routes.v6_default |= is_default && interface != "lo" && is_usable(flags);
    }
    routes.v6_address = if_inet6.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, _, _, "00", _, interface] if interface != "lo")
    });
    Some(routes)
}

fn is_usable(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & UP != 0 && flags & REJECT == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    const DEFAULT: &str = "ens5\t00000000\t0100000A\t0003\t0\t0\t512\t00000000\t0\t0\t0\n";
    const LOCAL: &str = "ens5\t0000000A\t00000000\t0001\t0\t0\t512\t0000FFFF\t0\t0\t0\n";
    const V6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                      fe800000000000000000000000000001 00000400 00000001 00000000 00000003     ens5\n";
    const V6_REJECTED: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                               00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
    const ADDRESS: &str = "20010db8000000000000000000000001 02 80 00 80     ens5\n";
    const LINK: &str = "fe80000000000000000000000000000a 02 40 20 80     ens5\n";

    #[test]
    fn distinguishes_default_and_local_routes() {
        let v4 = |lines: &[&str]| read(&(HEAD.to_owned() + &lines.concat()), "", "").unwrap();
        assert_eq!(v4(&[]), Routes::default());
        assert_eq!(v4(&[LOCAL]), Routes { v4_any: true, ..Routes::default() });
        assert_eq!(v4(&[DEFAULT, LOCAL]), Routes { v4_any: true, v4_default: true, ..Routes::default() });
        let v6 = |route: &str, address: &str| read(HEAD, route, address).unwrap();
        assert_eq!(v6(V6, ADDRESS), Routes { v6_default: true, v6_address: true, ..Routes::default() });
        assert_eq!(v6(V6_REJECTED, LINK), Routes::default());
        assert_eq!(read("", "", ""), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_break_it(route: String, v6: String, address: String) {
            read(&route, &v6, &address);
            read(&format!("{HEAD}{route}"), &v6, &address);
        }
    }
}
