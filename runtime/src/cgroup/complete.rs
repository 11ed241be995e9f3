//! What an update leaves out and cgroup v2 cannot set alone is taken from the group as it is: quota and period share a
//! file, and a limit on memory and swap together becomes one on swap.

use std::borrow::Cow;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::{Cgroup, Error, Layout, file};

impl Cgroup {
    /// `resources` with the other halves of what they change.
    pub(super) fn complete<'a>(&self, resources: &'a LinuxResources) -> Result<Cow<'a, LinuxResources>, Error> {
        let (Layout::V2, Some(group)) = (self.layout, self.unified()) else { return Ok(Cow::Borrowed(resources)) };
        let text = |name: &str| file::read(&group.path.join(name)).unwrap_or_default();
        let mut whole = Cow::Borrowed(resources);
        if let Some(cpu) = resources.cpu().as_ref().filter(|cpu| is_given(cpu.quota()) != is_given(cpu.period())) {
            whole.to_mut().set_cpu(Some(both(cpu, &text("cpu.max"))));
        }
        if let Some(memory) = resources.memory() {
            whole.to_mut().set_memory(Some(together(*memory, &text("memory.max"), &text("memory.swap.max"))));
        }
        Ok(whole)
    }
}

/// Zero is "not given", as everywhere in these limits.
fn is_given<N: Default + PartialEq>(value: Option<N>) -> bool {
    value.is_some_and(|value| value != N::default())
}

/// `max` is cpu.max as it is: `50000 100000`, `max 100000`.
fn both(cpu: &LinuxCpu, max: &str) -> LinuxCpu {
    let mut cpu = cpu.clone();
    let mut words = max.split_whitespace();
    let (quota, period) = (words.next(), words.next());
    if is_given(cpu.quota()) {
        cpu.set_period(period.and_then(|word| word.parse().ok()));
    } else {
        cpu.set_quota(quota.and_then(|word| word.parse().ok()));
    }
    cpu
}

/// `max` and `swap_max` are the files as they are: a number or `max`.
fn together(mut memory: LinuxMemory, max: &str, swap_max: &str) -> LinuxMemory {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    match (is_given(memory.limit()), is_given(memory.swap())) {
        // Both together stay as they were.
        (true, false) if memory.limit() != Some(-1) => {
            if let (Some(limit), Some(swap)) = (number(max), number(swap_max)) {
                memory.set_swap(Some(limit.saturating_add(swap)));
            }
        }
        (false, true) if memory.swap() != Some(-1) => {
            memory.set_limit(number(max));
        }
        _ => {}
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(json: &str, max: &str) -> (Option<i64>, Option<u64>) {
        let cpu = both(&serde_json::from_str(json).unwrap(), max);
        (cpu.quota(), cpu.period())
    }

    fn memory(json: &str, max: &str, swap_max: &str) -> (Option<i64>, Option<i64>) {
        let memory = together(serde_json::from_str(json).unwrap(), max, swap_max);
        (memory.limit(), memory.swap())
    }

    #[test]
    fn a_quota_keeps_its_period_and_a_period_its_quota() {
        assert_eq!(cpu(r#"{"quota":7000}"#, "50000 200000\n"), (Some(7000), Some(200_000)));
        assert_eq!(cpu(r#"{"period":90000}"#, "50000 200000\n"), (Some(50_000), Some(90_000)));
        assert_eq!(cpu(r#"{"period":90000}"#, "max 100000\n"), (None, Some(90_000)));
    }

    #[test]
    fn memory_and_swap_together_stay_when_only_memory_is_changed() {
        assert_eq!(memory(r#"{"limit":150}"#, "100\n", "100\n"), (Some(150), Some(200)));
        assert_eq!(memory(r#"{"limit":150}"#, "100\n", "max\n"), (Some(150), None));
        assert_eq!(memory(r#"{"limit":150}"#, "max\n", "100\n"), (Some(150), None));
        assert_eq!(memory(r#"{"limit":-1}"#, "100\n", "100\n"), (Some(-1), None));
        assert_eq!(memory(r#"{"swap":300}"#, "100\n", "100\n"), (Some(100), Some(300)));
        assert_eq!(memory(r#"{"swap":-1}"#, "100\n", "100\n"), (None, Some(-1)));
        assert_eq!(memory(r#"{"limit":1,"swap":2}"#, "100\n", "100\n"), (Some(1), Some(2)));
    }
}
