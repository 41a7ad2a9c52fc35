//! Another configuration under a state that goes on.

use tidegate_health::event::EventKind;
use tidegate_health::fleet::Fleet;
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{OriginId, SiteId};
use tidegate_health::order::Verb;
use tidegate_health::refit::Misfit;
use tidegate_health::step::{Effect, Pace};

use crate::world::{DR, GROUP, MAIN, Shape, Store, THIRD, World, fleet, one, secs};

/// Every origin of `new` that `old` has by name.
fn by_name(old: &Fleet, new: &Fleet) -> Vec<Option<OriginId>> {
    new.origins.iter().map(|origin| old.origin_named(&origin.name)).collect()
}

fn reload(world: &mut World, new: Fleet) -> Result<(), Vec<Misfit>> {
    let kept = by_name(&world.fleet, &new);
    world.reload(new, &kept)
}

/// The fleet of [`one`] without one of its sites.
fn without(site: SiteId) -> Fleet {
    let mut fleet = one();
    fleet.groups[0].sites.retain(|at| *at != site);
    fleet.services[0].origins.remove(&site);
    // The last origin takes the number of the one that leaves.
    let gone = site.index();
    fleet.origins.swap_remove(gone);
    for ids in fleet.services[0].origins.values_mut() {
        for id in ids {
            if id.index() == fleet.origins.len() {
                *id = OriginId(gone as u32);
            }
        }
    }
    fleet
}

#[test]
fn health_stays_with_an_origin_that_gets_another_number() {
    let mut world = World::settled(one());
    world.set(THIRD, false);
    world.run(secs(5));
    assert_eq!(world.state.origin(OriginId(2)).real(), Health::Down);
    reload(&mut world, without(DR)).expect("nothing lives at the site that leaves");
    assert_eq!(world.state.origin(OriginId(1)).real(), Health::Down, "it is number one now");
    assert_eq!(world.state.origin(OriginId(0)).real(), Health::Up);
    assert_eq!((world.site(), world.epoch()), (Some(MAIN), 1));
}

#[test]
fn nothing_moves_because_origins_are_unknown_again() {
    let mut world = World::settled(one());
    let before = world.history.len();
    world.reload(one(), &[None, None, None]).expect("the same fleet");
    assert!(world.state.origins.iter().all(|origin| origin.real() == Health::Unknown));
    world.run(secs(30));
    assert_eq!((world.site(), world.epoch()), (Some(MAIN), 1));
    assert_eq!(world.history.len(), before, "nor is it told as a loss, a stall or a recovery");
    assert!(world.state.origins.iter().all(|origin| origin.real() == Health::Up));
}

#[test]
fn a_loss_under_way_goes_on_over_a_reload() {
    let mut world = World::settled(one());
    world.set(MAIN, false);
    world.run(secs(8));
    assert_eq!(world.site(), Some(MAIN), "`failover_after` is not over");
    let unfit_since = world.state.group(GROUP).unfit_since;
    assert!(unfit_since.is_some());
    reload(&mut world, one()).expect("the same fleet");
    assert_eq!(
        world.state.group(GROUP).unfit_since,
        unfit_since,
        "the clock of the failover is not set back"
    );
    world.run(secs(6));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn a_reload_takes_new_timers() {
    let mut world = World::settled(one());
    world.set(MAIN, false);
    world.run(secs(3));
    let mut quick = one();
    quick.groups[0].failover_after = secs(0);
    reload(&mut world, quick).expect("the same sites");
    world.run(secs(2));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn a_changed_threshold_keeps_health_but_not_the_run() {
    let mut world = World::settled(one());
    world.set(DR, false);
    world.run(secs(5));
    let mut slow = one();
    slow.origins[1].thresholds.fall = 7;
    reload(&mut world, slow).expect("the same origins");
    let origin = world.state.origin(OriginId(1));
    assert_eq!(
        (origin.real(), origin.evidence()),
        (Health::Down, Health::Unknown),
        "out of traffic, no proof"
    );
}

#[test]
fn removing_the_active_site_is_refused_and_says_what_to_do() {
    let shape = Shape { groups: 2, sites: 2, services: 1, origins: 1 };
    let mut world = World::settled(fleet(shape));
    let mut new = fleet(shape);
    for group in &mut new.groups {
        group.sites.remove(0);
    }
    let generations = world.generations;
    let misfits = reload(&mut world, new).expect_err("both groups live there");
    assert_eq!(misfits.len(), 2, "every reason at once");
    let text = misfits[0].to_string();
    assert!(text.contains("active at site `main`") && text.contains("tidegate switch app SITE"), "{text}");
    assert_eq!(world.generations, generations);

    world.order(Verb::Switch { to: DR }).expect("a fit site");
    reload(&mut world, without(MAIN)).expect("nothing of this configuration lives there any more");
}

#[test]
fn a_group_that_is_renamed_would_start_anew_and_is_refused() {
    let mut world = World::settled(one());
    world.order(Verb::Switch { to: DR }).expect("a fit site");
    let mut renamed = one();
    renamed.groups[0].name = "apps".into();
    let misfits = reload(&mut world, renamed).expect_err("its service lives at the DR site");
    assert!(matches!(&misfits[..], [Misfit::Moved { .. }]), "{misfits:?}");
    assert!(misfits[0].to_string().contains("wait for a first decision"), "{}", misfits[0]);
}

#[test]
fn a_group_that_comes_back_is_where_it_was() {
    let shape = Shape { groups: 2, sites: 2, services: 1, origins: 1 };
    let mut world = World::settled(fleet(shape));
    world.order(Verb::Switch { to: DR }).expect("a fit site");
    let epoch = world.epoch();
    let mut new = fleet(shape);
    // Only the second group stays, as the first.
    new.groups.remove(0);
    new.services.remove(0);
    new.origins.drain(..2);
    new.groups[0].services = vec![tidegate_health::id::ServiceId(0)];
    new.origins.iter_mut().for_each(|origin| origin.service = new.groups[0].services[0]);
    new.services[0].group = GROUP;
    for ids in new.services[0].origins.values_mut() {
        ids.iter_mut().for_each(|id| id.0 -= 2);
    }
    reload(&mut world, new).expect("a group may leave with its services");
    world.run(secs(3));
    assert_eq!(world.site(), Some(MAIN), "the second group");
    reload(&mut world, fleet(shape)).expect("and come back");
    assert_eq!((world.site(), world.epoch()), (Some(DR), epoch));
    world.run(secs(3));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn a_new_group_starts_as_at_a_first_start() {
    let shape = Shape { groups: 2, sites: 2, services: 1, origins: 1 };
    let mut world = World::settled(fleet(Shape { groups: 1, ..shape }));
    reload(&mut world, fleet(shape)).expect("more is no problem");
    assert_eq!(world.visible[1], (None, 0));
    world.run(secs(3));
    assert_eq!(world.visible[1].0, Some(MAIN));
    assert_eq!(world.events(EventKind::Start).len(), 1);
}

#[test]
fn a_write_under_way_is_waited_for() {
    let mut world = World::settled(one());
    world.store = Store::Never;
    world.send(Verb::Switch { to: DR }, &[]);
    let misfits = reload(&mut world, one()).expect_err("a switch is at the disk");
    assert_eq!(misfits, [Misfit::Pending { group: "app".into() }]);
    world.release(None);
    reload(&mut world, one()).expect("it is done");
    assert_eq!(world.site(), Some(DR));
}

/// A check whose interval changes begins anew, at the normal pace; and what is asked often for a reason stays so.
#[test]
fn a_check_that_begins_anew_is_told_to_go_on_at_the_fast_pace() {
    let mut world = World::settled(one());
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    // No site is left: every result may be the one that changes something.
    world.run(secs(10));
    let mut new = one();
    let elsewhere = new.origins.iter().position(|origin| origin.site != MAIN).expect("there are other sites");
    new.origins[elsewhere].thresholds.interval *= 2;
    let kept = by_name(&world.fleet, &new);
    let refitted = world.state.refit(&world.fleet, &new, &kept, world.now());
    let (_, effects) = refitted.expect("nothing speaks against it");
    for id in new.origin_ids() {
        let is_told = |effect: &Effect| matches!(effect, Effect::Pace(at, Pace::Fast) if *at == id);
        assert!(effects.iter().any(is_told), "{id:?}: {effects:?}");
    }
}

#[test]
fn a_lost_site_whose_checks_begin_anew_has_to_be_seen_lost_anew() {
    let mut fleet = one();
    fleet.groups[0].failover_after = secs(10);
    let mut world = World::settled(fleet.clone());
    world.set(MAIN, false);
    world.run(secs(8));
    assert_eq!(world.events(EventKind::Unfit).len(), 1);
    let mut new = fleet;
    for origin in new.origins.iter_mut().filter(|origin| origin.site == MAIN) {
        origin.thresholds.fall += 1;
    }
    let kept = vec![None; new.origins.len()];
    world.reload(new, &kept).expect("nothing speaks against it");
    world.set(MAIN, false);
    assert_eq!(world.events(EventKind::Recovered).len(), 1, "nothing is known of it");
    world.run(secs(8));
    assert_eq!(world.events(EventKind::Failover).len(), 0, "the ten seconds have begun anew");
    world.run(secs(10));
    assert_eq!(world.events(EventKind::Failover).len(), 1);
}
