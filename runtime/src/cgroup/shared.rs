//! The limits whose files are the same in v1 and v2, or differ only in a word.

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::{Error, Setting, invalid};

/// Zero is "not given", as the spec's field had no other way to say it; below zero is "no limit".
pub(super) fn pids(resources: &LinuxResources, lines: &mut Vec<Setting>) {
    match resources.pids().as_ref().map_or(0, |pids| pids.limit()) {
        0 => {}
        limit if limit < 0 => lines.push(Setting::new("pids", "pids.max", "max")),
        limit => lines.push(Setting::new("pids", "pids.max", limit)),
    }
}

pub(super) fn cpuset(cpu: &LinuxCpu, lines: &mut Vec<Setting>) {
    if let Some(cpus) = cpu.cpus().as_ref().filter(|text| !text.is_empty()) {
        lines.push(Setting::new("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems().as_ref().filter(|text| !text.is_empty()) {
        lines.push(Setting::new("cpuset", "cpuset.mems", mems));
    }
}

/// `word` is how the generation calls a limit: `limit_in_bytes` or `max`.
pub(super) fn hugetlb(resources: &LinuxResources, word: &str, lines: &mut Vec<Setting>) -> Result<(), Error> {
    for page in resources.hugepage_limits().iter().flatten() {
        let size = page.page_size();
        if !is_page_size(size) {
            return Err(invalid("hugepageLimits", &format!("the page size {size} is not a number with KB, MB or GB")));
        }
        lines.push(Setting::new("hugetlb", format!("hugetlb.{size}.{word}"), page.limit()));
        // Limits the reservation too, where the kernel counts it (5.7): a fault beyond it would be SIGBUS.
        lines.push(Setting::new("hugetlb", format!("hugetlb.{size}.rsvd.{word}"), page.limit()).optional());
    }
    Ok(())
}

/// `64KB`, `2MB`, `1GB`: it becomes part of a file name.
fn is_page_size(text: &str) -> bool {
    ["KB", "MB", "GB"].iter().filter_map(|unit| text.strip_suffix(unit)).any(|number| {
        number.starts_with(|first: char| ('1'..='9').contains(&first))
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(super) fn rdma(resources: &LinuxResources, lines: &mut Vec<Setting>) {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| name.as_str());
    for (name, limits) in devices {
        let number = |limit: Option<u32>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
        let value =
            format!("{name} hca_handle={} hca_object={}", number(limits.hca_handles()), number(limits.hca_objects()));
        lines.push(Setting::new("rdma", "rdma.max", value));
    }
}
