//! Once everything is well and stays so, every group has to come to rest where it should be: rules that only forbid would
//! be content with a core that does nothing.

use tidegate_health::fit::Fitness;
use tidegate_health::force::{ForceKind, ForceVerb, Selector};
use tidegate_health::id::{ServiceId, SiteId};
use tidegate_health::order::Rule;

use crate::world::{Store, World, secs};

/// Ends all trouble, waits, and looks.
pub(crate) fn settles(mut world: World) {
    world.fuse = None;
    world.store = Store::AtOnce;
    world.release(None);
    for site in 0..world.fleet.sites.len() {
        let site = SiteId(u16::try_from(site).expect("few sites"));
        world.set(site, true);
    }
    world.says.lag = secs(0);
    world.all_good();
    world.run(secs(2));
    for force in world.state.forces.clone() {
        let Selector { scope, pattern } = force.selector.clone();
        let drain = force.kind == ForceKind::Drain;
        world.send_force(scope, &pattern, ForceVerb::Lift { drain }, &[Rule::Unfit]);
    }
    world.run(secs(30));
    assert!(world.state.forces.is_empty(), "a force cannot be lifted\n{}", world.told());
    assert_eq!(world.writes_open(), 0, "a write is still open");
    assert!(!world.state.is_deciding(), "something is still being decided");
    for origin in &world.state.origins {
        assert_eq!(origin.effective().label(), "up", "an origin that passes all the time");
    }
    for (group, own) in world.fleet.groups.iter().zip(&world.state.groups) {
        let Some(active) = own.active else { continue };
        let counts = |service: &ServiceId| {
            let service = world.fleet.service(*service);
            !service.critical || service.origins_at(active).len() >= service.min_up as usize
        };
        // A configuration may have left it fewer origins than it needs, and a mark stays until a person lifts it.
        let diverged = own.durable.diverged.contains(&world.fleet.site(active).name);
        if group.services.iter().all(counts) && !diverged {
            assert_eq!(own.fitness_at(group, active), &Fitness::Fit, "`{}` where all is well", group.name);
            assert_eq!(own.unfit_since, None);
        }
    }
}
