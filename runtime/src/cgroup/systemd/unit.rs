//! Which unit a container's group is: `linux.cgroupsPath` of the form `slice:prefix:name`, as runc reads it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::Error;

/// The unit of systemd whose group a container's is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `prefix-name.scope`, or a name that ends in `.slice`.
    pub(super) name: String,
    /// In which slice it lies.
    pub(super) slice: String,
}

impl Unit {
    /// The unit of `cgroups_path` for the container `id`: `slice:prefix:name`. Where it is empty, a scope of ours in
    /// system.slice.
    ///
    /// # Errors
    /// `InvalidSpec` for every other form.
    pub fn parse(cgroups_path: &Path, id: &str) -> Result<Unit, Error> {
        let text = cgroups_path.to_string_lossy();
        let (slice, prefix, name) = match text.split(':').collect::<Vec<_>>().as_slice() {
            [""] => ("", "rbox-runtime", id),
            [slice, prefix, name] => (*slice, *prefix, *name),
            _ => {
                return Err(invalid(format!(
                    "{text:?} is not of the form slice:prefix:name, as --systemd-cgroup needs it"
                )));
            }
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        expand(slice).ok_or_else(|| invalid(format!("{slice:?} is not the name of a slice")))?;
        let name = if name.ends_with(".slice") { name.to_owned() } else { format!("{prefix}-{name}.scope") };
        let unit = Unit { name, slice: slice.to_owned() };
        if !unit.has_fitting_name() {
            return Err(invalid(format!("{:?} is not the name of a unit", unit.name)));
        }
        Ok(unit)
    }

    /// Where its group is, from the top of each hierarchy.
    pub(super) fn path(&self) -> PathBuf {
        // A slice has its place by its name.
        match self.is_slice() {
            true => expand(&self.name).unwrap_or_default(),
            false => expand(&self.slice).unwrap_or_default().join(&self.name),
        }
    }

    pub(super) fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// systemd.unit(5): letters, digits and `:-_.\` and `@`, at most 255 bytes; here it becomes part of a path too.
    fn has_fitting_name(&self) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let is_slice = !self.is_slice() || (self.name != "-.slice" && expand(&self.name).is_some());
        self.name.len() <= 255 && self.name.chars().all(fits) && is_slice
    }
}

/// Where a slice is: `a-b.slice` lies in `a.slice`, and `-.slice` is the top. systemd.slice(5).
fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty() && !name.contains('/'))?;
    let mut path = PathBuf::from("/");
    if name == "-" {
        return Some(path);
    }
    let mut end = 0;
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        end += part.len();
        path.push(format!("{}.slice", &name[..end]));
        end += 1;
    }
    Some(path)
}

/// Whether a path is meant for this driver: somebody has left out `--systemd-cgroup`.
pub(super) fn looks_like_unit(cgroups_path: &Path) -> bool {
    let text = cgroups_path.to_string_lossy();
    let slice = text.split(':').next().unwrap_or_default();
    text.matches(':').count() == 2 && !text.contains('/') && (slice.is_empty() || slice.ends_with(".slice"))
}

pub(super) fn invalid(why: String) -> Error {
    Error::InvalidSpec { path: "linux.cgroupsPath".to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<String, String> {
        let unit = Unit::parse(Path::new(text), "id").map_err(|error| error.to_string())?;
        Ok(unit.path().display().to_string())
    }

    #[test]
    fn a_unit_lies_in_its_slice() {
        for (text, wanted) in [
            ("", "/system.slice/rbox-runtime-id.scope"),
            ("system.slice:docker:1234", "/system.slice/docker-1234.scope"),
            (":libpod:ab", "/system.slice/libpod-ab.scope"),
            ("-.slice:cri:x", "/cri-x.scope"),
            (
                "kubepods-besteffort-pod1.slice:cri-containerd:x",
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-x.scope",
            ),
            ("a.slice:any:a-b.slice", "/a.slice/a-b.slice"),
            ("::x", "/system.slice/-x.scope"),
        ] {
            assert_eq!(path(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["a/b", "/a", "a:b", "a:b:c:d", "x:y:z", "a--b.slice:p:n", "-a.slice:p:n", ".slice:p:n"] {
            assert!(path(text).unwrap_err().starts_with("linux.cgroupsPath: "), "{text}");
        }
        for text in
            ["a/b.slice:p:n", "system.slice:p:../n", "system.slice:p:a/b", ":p:-.slice", ":p:a--b.slice", ":p:ä"]
        {
            assert!(path(text).is_err(), "{text}");
        }
        assert!(path(&format!(":p:{}", "n".repeat(250))).is_err());
    }

    #[test]
    fn a_path_for_systemd_is_known_by_its_form() {
        for text in ["system.slice:docker:1234", ":a:b", "a-b.slice:c:d"] {
            assert!(looks_like_unit(Path::new(text)), "{text}");
        }
        for text in ["/a:b:c", "a:b:c", "a.slice", "system.slice:a", ""] {
            assert!(!looks_like_unit(Path::new(text)), "{text}");
        }
    }
}
