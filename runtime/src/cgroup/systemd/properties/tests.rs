use super::*;
use crate::cgroup::{default_rules, v1, v2};
use std::path::Path;

fn limits(layout: Layout, json: &str) -> Vec<(String, Value)> {
    let resources = serde_json::from_str(json).unwrap();
    let lines = if layout == Layout::V2 { v2::settings(&resources) } else { v1::settings(&resources) };
    of_limits(&lines.unwrap()).unwrap().into_iter().map(|one| (one.name, one.value)).collect()
}

fn numbers(expected: &[(&str, u64)]) -> Vec<(String, Value)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), Value::UInt64(*value))).collect()
}

#[test]
fn limits_of_v2_have_systemds_names() {
    let json = r#"{"memory":{"limit":4096000,"swap":8192000,"reservation":1000},"pids":{"limit":20},
        "cpu":{"shares":1024,"quota":25000,"period":100000},"blockIO":{"weight":1000}}"#;
    let expected = [
        ("MemorySwapMax", 4_096_000),
        ("MemoryMax", 4_096_000),
        ("MemoryLow", 1000),
        ("CPUWeight", 100),
        ("TasksMax", 20),
        ("IOWeight", 10_000),
        ("CPUQuotaPeriodUSec", 100_000),
        ("CPUQuotaPerSecUSec", 250_000),
    ];
    assert_eq!(limits(Layout::V2, json), numbers(&expected));
    let unified = r#"{"unified":{"memory.high":"max","memory.min":"5","io.max":"8:0 rbps=1","io.weight":"8:0 5"}}"#;
    assert_eq!(limits(Layout::V2, unified), numbers(&[("MemoryHigh", u64::MAX), ("MemoryMin", 5)]));
    assert_eq!(limits(Layout::V2, r#"{"pids":{"limit":-1}}"#), numbers(&[("TasksMax", u64::MAX)]));
}

#[test]
fn limits_of_v1_have_the_older_names() {
    let json = r#"{"memory":{"limit":4096000},"cpu":{"shares":512,"quota":-1,"period":50000},"blockIO":{"weight":10}}"#;
    let expected = [
        ("MemoryLimit", 4_096_000),
        ("CPUShares", 512),
        ("BlockIOWeight", 10),
        ("CPUQuotaPeriodUSec", 50_000),
        ("CPUQuotaPerSecUSec", u64::MAX),
    ];
    assert_eq!(limits(Layout::V1, json), numbers(&expected));
}

/// runc's own cases: opencontainers/cgroups `addCPUQuota`.
#[test]
fn a_quota_is_rounded_up_to_hundredths() {
    let time = |quota, period| processor_time(quota, period).pop().unwrap().value;
    assert_eq!(time(Some("12345"), Some("100000")), Value::UInt64(130_000));
    assert_eq!(time(Some("10000"), None), Value::UInt64(100_000));
    assert_eq!(time(Some("max"), Some("100000")), Value::UInt64(u64::MAX));
    assert_eq!(time(None, Some("100000")), Value::UInt64(u64::MAX));
    assert_eq!(time(Some("18446744073709551614"), Some("1")), Value::UInt64(18_446_744_073_709_550_000));
}

/// The table of runc's `TestRangeToBits`.
#[test]
fn sets_of_processors_are_masks() {
    for (list, mask) in [
        ("0", &[1][..]),
        ("1", &[2]),
        ("0-1", &[3]),
        ("0,1", &[3]),
        (",0,1,", &[3]),
        ("0-3", &[0x0f]),
        ("4-7", &[0xf0]),
        ("0-7", &[0xff]),
        ("0-15", &[0xff, 0xff]),
        ("16", &[0, 0, 1]),
        ("0-3,32-33", &[0x0f, 0, 0, 0, 3]),
    ] {
        assert_eq!(bits(list).as_deref(), Some(mask), "{list}");
    }
    for list in ["", "-", "1-", "-3", ",", "a", "2-1", "1-99999999999", "9000"] {
        assert_eq!(bits(list), None, "{list}");
    }
    let odd: oci_spec::runtime::LinuxResources = serde_json::from_str(r#"{"cpu":{"cpus":"x"}}"#).unwrap();
    assert!(of_limits(&v2::settings(&odd).unwrap()).is_err());
}

#[test]
fn devices_are_named_as_systemd_names_them() {
    let deny_all = serde_json::from_str(r#"{"allow":false,"access":"rwm"}"#).unwrap();
    let odd = serde_json::from_str(r#"{"allow":true,"type":"c","minor":3,"access":"r"}"#).unwrap();
    let disk = serde_json::from_str(r#"{"allow":true,"type":"b","major":8,"minor":1,"access":"rw"}"#).unwrap();
    let mut rules = vec![deny_all, odd, disk];
    rules.extend(default_rules());
    let all = of_devices(&Policy::of(&rules).unwrap());
    assert_eq!(all[0], Property::new("DevicePolicy", Value::text("strict")));
    let Value::Array(_, entries) = &all[2].value else { panic!("no list") };
    let entry = |path: &str, access: &str| Value::Struct(vec![Value::text(path), Value::text(access)]);
    assert_eq!(entries[0], entry("/dev/block/8:1", "rw"));
    for wanted in [entry("char-*", "m"), entry("block-*", "m"), entry("/dev/char/1:3", "rwm"), entry("char-136", "rwm")]
    {
        assert!(entries.contains(&wanted), "{wanted:?}");
    }
    let everything = of_devices(&Policy::of(&[]).unwrap());
    assert_eq!(everything[0], Property::new("DevicePolicy", Value::text("auto")));
    assert_eq!(everything.len(), 2);
}

#[test]
fn a_scope_has_its_process_and_a_slice_has_none() {
    let names = |path: &str| -> Vec<String> {
        let unit = Unit::parse(Path::new(path), "id").unwrap();
        of_unit(&unit, Layout::V2, 7).into_iter().map(|one| one.name).collect()
    };
    let scope = names("");
    for name in ["Slice", "Delegate", "PIDs", "IOAccounting", "DefaultDependencies"] {
        assert!(scope.iter().any(|one| one == name), "{name}");
    }
    let slice = names("a.slice:x:a-b.slice");
    assert!(slice.iter().any(|one| one == "Wants") && !slice.iter().any(|one| one == "PIDs" || one == "Delegate"));
}
