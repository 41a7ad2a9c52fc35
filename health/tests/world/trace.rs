//! Effects in a word or two, for tables and traces.

use tidegate_health::event::Class;
use tidegate_health::fleet::Fleet;
use tidegate_health::step::Effect;

/// Whether an effect only tells what was seen to change.
pub(crate) fn is_observation(effect: &Effect) -> bool {
    matches!(effect, Effect::Record(event) if event.kind.class() == Class::Observation)
}

/// An effect in a word or two.
pub(crate) fn brief(fleet: &Fleet, effect: &Effect) -> String {
    match effect {
        Effect::Persist { change, .. } => {
            let to = change.1.to.as_ref().map(|to| format!(">{to}")).unwrap_or_default();
            format!("persist {}{to}", change.1.kind.label())
        }
        Effect::Record(event) => format!("record {}", event.kind.label()),
        Effect::Publish => "publish".into(),
        Effect::Reply { outcome: Ok(done), .. } if done.changed => "reply done".into(),
        Effect::Reply { outcome: Ok(_), .. } => "reply already".into(),
        Effect::Reply { outcome: Err(refusal), .. } => format!("refuse {}", refusal.label),
        Effect::PersistForces { change, .. } => format!("persist {}", change.1.kind.label()),
        Effect::ReplyForce { outcome: Ok(forced), .. } if forced.changed => "reply done".into(),
        Effect::ReplyForce { outcome: Ok(_), .. } => "reply already".into(),
        Effect::ReplyForce { outcome: Err(refusal), .. } => format!("refuse {}", refusal.label),
        Effect::ProbeNow(origin) => format!("probe {}", fleet.site(fleet.origin(*origin).site).name),
        Effect::Pace(origin, pace) => {
            format!("{pace:?} {}", fleet.site(fleet.origin(*origin).site).name).to_lowercase()
        }
    }
}
