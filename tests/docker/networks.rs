//! Networks side by side: the same ones with the same containers in both engines, and then who reaches whom, by address
//! and by name, what each container sees, and what is said of it.
//!
//! Docker's daemon is told to make rules of IPv6 too (`--ip6tables`), as it does by itself from version 27 on.

mod matrix;
mod steps;
mod views;

use super::engine::Engine;
use super::life::play;
use super::{Answers, compare_all, known, lacks_docker};
use crate::support::{Host, need, skip};
use matrix::Matrix;

#[test]
fn networks_side_by_side_with_docker() {
    need!(Root, Iptables);
    if let Some(reason) = lacks_docker() {
        skip(&reason);
        return;
    }
    let docker = || Engine::docker_on(Host::new(), &["--experimental", "--ip6tables"]);
    compare_all(docker, everything, &known::NETWORKS.iter().collect::<Vec<_>>());
}

fn everything(engine: &Engine) -> Answers {
    let _outside = engine.host.neighbour_serves(&["7000", "6"]);
    let mut answers = play(engine, steps::MAKE.iter().copied());
    answers.extend(views::all(engine, "at first"));
    answers.extend(Matrix::new(engine, "at first").answers());
    answers.extend(play(engine, steps::CHANGE.iter().copied()));
    answers.extend(views::all(engine, "changed"));
    answers.extend(Matrix::new(engine, "changed").answers());
    answers.extend(play(engine, steps::REFUSED.iter().chain(steps::END).copied()));
    answers
}
