//! `rbox inspect`: what it tells of a container is what the kernel has.

use crate::support::{BUSYBOX, Host, Running, need};
use serde_json::{Value, json};

fn idle(host: &Host, name: &str, flags: &[&str]) -> Running {
    let flags = [&["--name", name], flags].concat();
    host.run_ready(&flags, &["sh", "-c", "echo ready; exec sleep 1000"])
}

fn inspect(host: &Host, name: &str) -> Value {
    host.rbox(&["inspect", name]).ok().json()[0].take()
}

#[test]
fn a_008_the_pid_leads_to_the_containers_namespaces() {
    need!(Root);
    let host = Host::with_busybox();
    let web = idle(&host, "web", &["--network", "none"]);
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    let theirs = host.shell(&format!("readlink /proc/{pid}/ns/net")).ok();
    let inside = web.inside("readlink /proc/self/ns/net").ok();
    assert_eq!(theirs.text(), inside.text());
    let last = host.rbox(&["ps", "-ql"]).ok().text().to_owned();
    assert_eq!(host.rbox(&["inspect", "-f", "{{.Name}}", &last]).ok().text(), "/web");
}

const TYPED: &str = "--tmpfs /scratch:size=1m -e A=1 -p 127.0.0.1:8080:80 --expose 53/udp --memory 64m --cpus 1.5 \
    --pids-limit 50 --cap-add NET_ADMIN -h box -w /var -u www-data -l tier=front --dns 192.0.2.53 --add-host \
    a:192.0.2.1 --stop-timeout 3";

fn has_host_config(told: &Value, bind: &str) {
    for (pointer, wanted) in [
        ("/HostConfig/Binds", json!([format!("{}:/probe:ro", crate::support::probe().display()), bind])),
        ("/HostConfig/Tmpfs", json!({ "/scratch": "size=1m" })),
        ("/HostConfig/Memory", json!(67_108_864)),
        ("/HostConfig/NanoCpus", json!(1_500_000_000)),
        ("/HostConfig/PidsLimit", json!(50)),
        ("/HostConfig/CapAdd", json!(["NET_ADMIN"])),
        ("/HostConfig/Dns", json!(["192.0.2.53"])),
        ("/HostConfig/ExtraHosts", json!(["a:192.0.2.1"])),
        ("/HostConfig/NetworkMode", json!("default")),
        ("/HostConfig/AutoRemove", json!(true)),
        ("/HostConfig/PortBindings", json!({ "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }] })),
    ] {
        assert_eq!(told.pointer(pointer), Some(&wanted), "{pointer}");
    }
}

#[test]
fn what_was_typed_is_told() {
    need!(Root);
    let host = Host::with_busybox();
    std::fs::create_dir(host.path("shared")).unwrap();
    let bind = format!("{}:/shared:ro", host.path("shared").display());
    let flags: Vec<&str> = ["-v", &bind].into_iter().chain(TYPED.split(' ')).collect();
    let _web = idle(&host, "web", &flags);
    let told = inspect(&host, "web");
    has_host_config(&told, &bind);
    for (pointer, wanted) in [
        ("/Name", json!("/web")),
        ("/Path", json!("sh")),
        ("/Args/0", json!("-c")),
        ("/State/Status", json!("running")),
        ("/State/FinishedAt", json!("0001-01-01T00:00:00Z")),
        ("/Config/Hostname", json!("box")),
        ("/Config/User", json!("www-data")),
        ("/Config/WorkingDir", json!("/var")),
        ("/Config/Labels", json!({ "tier": "front" })),
        ("/Config/ExposedPorts", json!({ "53/udp": {}, "80/tcp": {} })),
        ("/Config/Env/0", json!("A=1")),
        ("/Config/StopTimeout", json!(3)),
        ("/NetworkSettings/IPAddress", json!("172.17.0.2")),
        ("/NetworkSettings/Networks/bridge/Gateway", json!("172.17.0.1")),
        ("/NetworkSettings/Networks/bridge/MacAddress", json!("02:42:ac:11:00:02")),
        (
            "/NetworkSettings/Ports",
            json!({ "53/udp": null, "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }] }),
        ),
    ] {
        assert_eq!(told.pointer(pointer), Some(&wanted), "{pointer}");
    }
    let mounts: Vec<&str> =
        told["Mounts"].as_array().unwrap().iter().filter_map(|it| it["Destination"].as_str()).collect();
    assert!(mounts.contains(&"/shared") && !mounts.contains(&"/scratch"), "{mounts:?}");
    for file in ["ResolvConfPath", "HostnamePath", "HostsPath"] {
        let path = told[file].as_str().unwrap();
        assert!(std::fs::metadata(path).is_ok(), "{file}: {path}");
    }
}

#[test]
fn an_ended_container_is_told_of_too() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["run", "--name", "done", "--network", "none", BUSYBOX, "sh", "-c", "echo 12345 > /made; exit 7"])
        .code(7);
    let told = inspect(&host, "done");
    assert_eq!((&told["State"]["Status"], &told["State"]["ExitCode"]), (&json!("exited"), &json!(7)));
    assert_eq!((&told["State"]["Pid"], &told["State"]["Running"]), (&json!(0), &json!(false)));
    assert_eq!(told["NetworkSettings"]["Networks"]["none"]["EndpointID"], "");
    assert!(told.get("SizeRw").is_none());
    let sizes = host.rbox(&["inspect", "-s", "--format", "{{.SizeRw}}", "done"]).ok();
    assert_eq!(sizes.text(), "6");
}

#[test]
fn the_kernels_kill_for_lack_of_memory_is_told() {
    need!(Root);
    let host = Host::with_busybox();
    let eats = "tail /dev/zero";
    host.rbox(&[
        "run",
        "--name",
        "greedy",
        "--network",
        "none",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        BUSYBOX,
        "sh",
        "-c",
        eats,
    ])
    .fails();
    assert_eq!(host.rbox(&["inspect", "-f", "{{.State.OOMKilled}}", "greedy"]).ok().text(), "true");
    host.rbox(&["run", "--name", "modest", "--network", "none", BUSYBOX, "true"]).ok();
    assert_eq!(host.rbox(&["inspect", "-f", "{{.State.OOMKilled}}", "modest"]).ok().text(), "false");
}

#[test]
fn templates_print_what_people_ask_for() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &["-p", "8080:80", "-e", "A=1"]);
    for (template, wanted) in [
        ("{{.State.Running}}", "true"),
        ("{{json .Config.Cmd}}", "[\"sh\",\"-c\",\"echo ready; exec sleep 1000\"]"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "172.17.0.2"),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{range $port, $to := .NetworkSettings.Ports}}{{$port}} {{(index $to 0).HostPort}}{{end}}", "80/tcp 8080"),
        ("{{join .Args \" \"}}", "-c echo ready; exec sleep 1000"),
        (
            "{{range .Config.Env}}{{println .}}{{end}}",
            "A=1\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("{{.HostConfig.Memory}}", "0"),
        ("{{if .State.Paused}}still{{else}}alive{{end}}", "alive"),
        ("{{if .State.Health}}checked{{else}}unchecked{{end}}", "unchecked"),
        ("{{.Config.Labels.tier}} {{.NetworkSettings.Networks.none.IPAddress}}", "<no value> <no value>"),
    ] {
        assert_eq!(host.rbox(&["inspect", "--format", template, "web"]).ok().text(), wanted, "{template}");
    }
    host.rbox(&["inspect", "--format", "{{.Nosuch}}", "web"]).code(1).says("there is no field Nosuch");
    host.rbox(&["inspect", "--format", "{{", "web"]).code(1);
}

#[test]
fn a_name_is_a_container_else_an_image_else_a_network() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, "web", &[]);
    let field = |words: &[&str], field: &str| {
        let all = [&["inspect", "--format", field], words].concat();
        host.rbox(&all).ok().text().to_owned()
    };
    assert_eq!(field(&["web"], "{{.Name}}"), "/web");
    assert!(field(&[BUSYBOX], "{{.Id}}").starts_with("sha256:"));
    assert_eq!(field(&["bridge"], "{{.Driver}}"), "bridge");
    assert_eq!(field(&["--type", "network", "bridge"], "{{.Name}}"), "bridge");
    let nothing = host.rbox(&["inspect", "nosuch"]).code(1).says("nosuch");
    assert_eq!(nothing.stdout, "[]\n");
    host.rbox(&["inspect", "--type", "image", "web"]).code(1);
    host.rbox(&["container", "inspect", BUSYBOX]).code(1).says("not found");
    let mixed = host.rbox(&["inspect", "--format", "{{.Name}}", "nosuch", "web"]).code(1);
    assert_eq!(mixed.stdout, "/web\n", "what is there is printed all the same");
}
