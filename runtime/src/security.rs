//! Linux security modules: which of them runs here (proc_pid_attr(5), Documentation/admin-guide/LSM).

use std::ffi::CStr;
use std::path::Path;

/// Whether AppArmor confines here.
pub(crate) fn apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y")
}

/// AppArmor's file below /proc/self: its own, or before Linux 5.8 the one that all modules share.
pub(crate) fn apparmor_file() -> &'static CStr {
    if Path::new("/proc/self/attr/apparmor/exec").exists() { c"attr/apparmor/exec" } else { c"attr/exec" }
}

/// Whether SELinux confines here: its file system is mounted, and a policy loaded.
pub(crate) fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
        && std::fs::read_to_string("/proc/self/attr/current").is_ok_and(|text| text.contains(':'))
}
