//! What is told because it lasts: once, and once more when it is over.

use tidegate_health::event::EventKind;
use tidegate_health::facts::Isolation;
use tidegate_health::order::{Rule, Verb};

use crate::world::{DR, GROUP, MAIN, THIRD, World, one, secs, stateful, witnessed};

fn told(world: &World, kind: EventKind) -> Vec<String> {
    world.events(kind).iter().map(|(_, event)| event.reason.to_string()).collect()
}

#[test]
fn a_standby_that_is_not_fit_for_long_is_told_once_and_again_when_it_is_fit() {
    let mut world = World::settled(one());
    let after = world.fleet.groups[0].standby_unfit_after;
    world.set(DR, false);
    world.run_until_true(secs(10), |world| !world.state.group(GROUP).fitness[1].is_fit());
    world.run(after - secs(1));
    assert_eq!(told(&world, EventKind::StandbyUnfit), [""; 0], "not yet");
    world.run(secs(2));
    let unfit = told(&world, EventKind::StandbyUnfit);
    assert_eq!(
        unfit,
        [
            "standby site `linode` has not been fit for 300 s: 0 of 1 origins of critical service `web` are up, 1 needed"
        ]
    );
    world.run(secs(3600));
    assert_eq!(told(&world, EventKind::StandbyUnfit).len(), 1, "once per spell");
    world.set(DR, true);
    world.run(secs(10));
    assert_eq!(told(&world, EventKind::StandbyFit), ["standby site `linode` is fit again"]);
    world.set(DR, false);
    world.run(after + secs(10));
    assert_eq!(told(&world, EventKind::StandbyUnfit).len(), 2, "another spell");
}

#[test]
fn a_standby_that_is_unfit_for_moments_only_is_not_told() {
    let mut world = World::settled(one());
    let period = world.fleet.groups[0].standby_unfit_after.as_millis() as u64 - 5_000;
    world.script(DR, move |at| (at.as_millis() as u64 / period).is_multiple_of(2));
    world.run(secs(3600));
    assert_eq!(told(&world, EventKind::StandbyUnfit), [""; 0]);
    assert_eq!(told(&world, EventKind::StandbyFit), [""; 0], "what was not told is not over either");
}

#[test]
fn the_site_that_became_active_is_no_standby_any_more_and_the_one_that_was_left_is_one() {
    let mut world = World::settled(one());
    world.set(DR, false);
    world.run(secs(310));
    assert_eq!(told(&world, EventKind::StandbyUnfit).len(), 1);
    world.order_with(Verb::Switch { to: DR }, &[Rule::Unfit]).expect("a person insists");
    world.set(DR, true);
    world.set(MAIN, false);
    world.run(secs(310));
    assert_eq!(told(&world, EventKind::StandbyFit), [""; 0], "an active site is no standby");
    let unfit = told(&world, EventKind::StandbyUnfit);
    assert!(unfit.len() == 2 && unfit[1].contains("`main`"), "{unfit:?}");
}

#[test]
fn a_reload_neither_tells_again_nor_forgets_since_when() {
    let mut world = World::settled(one());
    world.set(DR, false);
    world.set(THIRD, false);
    world.run(secs(200));
    // The same sites with other numbers.
    let mut fleet = one();
    fleet.groups[0].sites.swap(1, 2);
    let kept: Vec<_> = world.fleet.origin_ids().map(Some).collect();
    world.reload(fleet.clone(), &kept).expect("it fits");
    world.run(secs(110));
    assert_eq!(told(&world, EventKind::StandbyUnfit).len(), 2);
    world.reload(fleet, &kept).expect("it fits");
    world.run(secs(400));
    assert_eq!(told(&world, EventKind::StandbyUnfit).len(), 2, "told already");
}

#[test]
fn an_edge_that_is_cut_off_for_a_while_is_told_once_and_again_when_it_is_not() {
    for cut_off in [Isolation::Isolated, Isolation::Unknown] {
        let mut world = World::settled(witnessed(one()));
        world.all_good();
        world.run(secs(1));
        world.isolate(cut_off);
        world.run(secs(9));
        world.isolate(Isolation::Connected);
        world.run(secs(1));
        assert_eq!(
            (told(&world, EventKind::Isolated).len(), told(&world, EventKind::Connected).len()),
            (0, 0)
        );
        world.isolate(cut_off);
        world.run(secs(60));
        assert_eq!(
            (told(&world, EventKind::Isolated).len(), told(&world, EventKind::Connected).len()),
            (1, 0)
        );
        world.isolate(Isolation::Connected);
        world.run(secs(60));
        assert_eq!(
            (told(&world, EventKind::Isolated).len(), told(&world, EventKind::Connected).len()),
            (1, 1)
        );
    }
}

#[test]
fn a_mark_of_diverged_data_is_told_when_it_is_set_and_not_after_a_restart() {
    let mut world = World::settled(stateful());
    world.order_with(Verb::Switch { to: DR }, &[Rule::NoFence]).expect("a person insists");
    world.run(secs(1));
    let diverged = told(&world, EventKind::Diverged);
    assert!(diverged.len() == 1 && diverged[0].contains("`main`"), "{diverged:?}");
    world.restart();
    world.run(secs(60));
    assert_eq!(told(&world, EventKind::Diverged).len(), 1);
}
