//! Networks and containers as they are made, changed and taken away; what is refused. size: flat table

use crate::docker::life::Step::{self, *};
use crate::docker::sight::Sight::*;

/// The containers that are asked what they see and whom they reach.
pub(super) const CONTAINERS: &[&str] =
    &["web", "fixed", "alone", "both", "inner", "inmate", "quiet", "hush", "first", "linked", "guest", "card", "plain"];

/// The networks that are made here.
pub(super) const NETWORKS: &[&str] = &["shop", "lab", "shut", "still", "narrow", "segment"];

pub(super) const MAKE: &[Step] = &[
    See("create a network", Text, "network create --ipv6 --subnet 10.1.0.0/24 --subnet fd00:1::/64 shop"),
    See("create a second", Text, "network create --ipv6 --subnet 10.2.0.0/24 --subnet fd00:2::/64 --label a=b lab"),
    See(
        "create an internal network",
        Text,
        "network create --internal --ipv6 --subnet 10.3.0.0/24 --subnet fd00:3::/64 shut",
    ),
    See(
        "create one without icc",
        Text,
        "network create -o com.docker.network.bridge.enable_icc=false --ipv6 --subnet 10.4.0.0/24 \
         --subnet fd00:4::/64 still",
    ),
    See(
        "create one with all options",
        Text,
        "network create --subnet 10.5.0.0/16 --ip-range 10.5.9.0/24 --gateway 10.5.0.254 \
         --aux-address router=10.5.9.1 -o com.docker.network.bridge.name=narrow0 \
         -o com.docker.network.driver.mtu=1400 --label x= narrow",
    ),
    See(
        "create a macvlan",
        Text,
        "network create -d macvlan --subnet 192.0.2.0/24 --ip-range 192.0.2.128/28 --gateway 192.0.2.3 \
         --ipv6 --subnet 2001:db8::/64 --ip-range 2001:db8::80/124 --gateway 2001:db8::3 -o parent=eth0 segment",
    ),
    Ready("web", "@with-probe --network shop --network-alias front -p 8080:80", "@server"),
    Ready(
        "fixed",
        "@with-probe --network shop --ip 10.1.0.9 --ip6 fd00:1::9 --mac-address 02:42:00:00:00:99 --network-alias front",
        "@server",
    ),
    Ready("alone", "@with-probe --network lab", "@server"),
    Ready("both", "@with-probe --network shop", "@server"),
    See("connect", Text, "network connect --alias dual --ip 10.2.0.20 lab both"),
    Ready("inner", "@with-probe --network shut", "@server"),
    Ready("inmate", "@with-probe --network shut", "@server"),
    Ready("quiet", "@with-probe --network still", "@server"),
    Ready("hush", "@with-probe --network still -p 8081:80", "@server"),
    Ready("first", "@with-probe", "@server"),
    Ready("linked", "@with-probe --link first:tie", "@server"),
    Ready("guest", "@with-probe --network container:web", "/probe serve 81 6"),
    Ready("card", "@with-probe --network segment", "@server"),
    Ready("plain", "@with-probe --network narrow --hostname lonely", "@server"),
];

pub(super) const CHANGE: &[Step] = &[
    See("disconnect", Text, "network disconnect shop both"),
    See("connect one that has a way out", Text, "network connect shop alone"),
    See("connect one of the default network", Text, "network connect --alias extra --alias more narrow first"),
    See("connect to an internal network", Text, "network connect shut quiet"),
    See("disconnect the only network", Text, "network disconnect still hush"),
    See("connect another in its place", Text, "network connect --ip 10.2.0.99 lab hush"),
    See("connect with a link", Text, "network connect --link both:brother lab plain"),
    Run("rename inmate cellmate"),
    Run("restart -t 0 fixed"),
    Until("logs --tail 1 fixed", "ready"),
    Run("rename cellmate inmate"),
];

pub(super) const REFUSED: &[Step] = &[
    See("connect again", Code, "network connect shop alone"),
    See("connect to nothing", Code, "network connect nosuch alone"),
    See("connect nothing", Code, "network connect shop nosuch"),
    See("connect to host", Code, "network connect host alone"),
    See("connect to none", Code, "network connect none alone"),
    See("connect one that shares", Code, "network connect lab guest"),
    See("connect with a taken address", Code, "network connect --ip 10.5.9.3 narrow web"),
    See("connect with an address outside", Code, "network connect --ip 10.7.0.3 narrow web"),
    See("connect with the gateway's address", Code, "network connect --ip 10.5.0.254 narrow web"),
    See("connect with a reserved address", Code, "network connect --ip 10.5.9.1 narrow web"),
    See("disconnect what is not connected", Code, "network disconnect segment alone"),
    See("disconnect from nothing", Code, "network disconnect nosuch alone"),
    See("disconnect nothing", Code, "network disconnect shop nosuch"),
    See("create without a name", Code, "network create"),
    See("create a name that is taken", Code, "network create shop"),
    See("create the name of one that is always there", Code, "network create bridge"),
    See("create a second host network", Code, "network create -d host second"),
    See("create a second null network", Code, "network create -d null second"),
    See("create of an unknown driver", Code, "network create -d nosuch second"),
    See("create an overlapping subnet", Code, "network create --subnet 10.1.0.0/25 second"),
    See("create with a gateway outside", Code, "network create --subnet 10.8.0.0/24 --gateway 10.9.0.1 second"),
    See("create with a range outside", Code, "network create --subnet 10.8.0.0/24 --ip-range 10.9.0.0/25 second"),
    See("create with a range alone", Code, "network create --ip-range 10.9.0.0/25 second"),
    See("create with a gateway alone", Code, "network create --gateway 10.9.0.1 second"),
    See("create with a subnet that is none", Code, "network create --subnet 10.8.0.0/33 second"),
    See("create with a bad label", Code, "network create --nosuch second"),
    See("create with a bad option", Code, "network create -o com.docker.network.bridge.enable_icc=maybe second"),
    See("run in no network", Code, "run --rm --network nosuch @image true"),
    See("run with an address on an automatic subnet", Code, "run --rm --network shop --ip 10.9.0.1 @image true"),
    See("run with an address that is none", Code, "run --rm --network shop --ip 10.1.0 @image true"),
    See("run with a taken address", Code, "run --rm --network shop --ip 10.1.0.9 @image true"),
    See("run with an alias on the default network", Code, "run --rm --network-alias x @image true"),
    See("run with a MAC that is none", Code, "run --rm --mac-address 02:42 @image true"),
    See("rm of one in use", Code, "network rm shop"),
    See("rm of one that is always there", Code, "network rm bridge"),
    See("rm of nothing", Code, "network rm nosuch"),
    See("rm without a name", Code, "network rm"),
    See("network inspect of nothing", Out, "network inspect nosuch"),
    See("network inspect of two, one is not there", Code, "network inspect shop nosuch"),
    See(
        "network ls",
        Text,
        "network ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}'",
    ),
    See("network ls -q", Text, "network ls -q"),
    See("network ls, columns", Table, "network ls"),
    See("network ls by driver", Text, "network ls --filter driver=macvlan --format {{.Name}}"),
    See("network ls by name", Text, "network ls --filter name=sh --format {{.Name}}"),
    See("network ls by label", Text, "network ls --filter label=a=b --format {{.Name}}"),
    See("network ls by type", Text, "network ls --filter type=builtin --format {{.Name}}"),
    See("network ls by nothing", Code, "network ls --filter nosuch=x"),
    See("ps by network", Text, "ps --filter network=lab @names"),
];

pub(super) const END: &[Step] = &[
    // The network that a stopped container was in is taken away, then the container starts.
    Run("stop -t 0 inner inmate quiet"),
    See("network rm", Text, "network rm shut"),
    See("start in a network that is gone", Code, "start inner"),
    See("start of one that has another", Code, "start quiet"),
    See("disconnect a stopped one", Code, "network disconnect still hush"),
    Run("create --name made --network lab @image true"),
    See("connect a created one", Text, "network connect shop made"),
    See("disconnect a created one", Text, "network disconnect lab made"),
    See(
        "networks of a created one",
        Text,
        "inspect -f '{{range $name, $it := .NetworkSettings.Networks}}{{$name}} [{{$it.IPAddress}}] {{end}}' made",
    ),
    Run("rm -f web fixed alone both inner inmate quiet hush first linked guest card plain made"),
    See("network prune", Sorted, "network prune -f"),
    See("networks that are left", Text, "network ls --format {{.Name}}"),
    See("network rm of many, one is not there", Code, "network rm nosuch other"),
    Host("links that are left", "ip -o link | grep -c -e veth -e br- -e rb- -e narrow -e macvlan"),
];
