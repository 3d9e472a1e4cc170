//! The crate as its users see it.

mod broken;
mod laws;
mod vectors;

use fastwire_congestion::{
    Aggressive, BuiltinControllers, CongestionController, CongestionMode, Conservative,
};
use fastwire_congestion::{ControllerFactory, conformance};

#[test]
fn the_built_in_controllers_conform() {
    use CongestionMode::{Aggressive, Conservative, Cubic, ModelBased};
    for mode in [Conservative, Aggressive, Cubic, ModelBased] {
        for initial_window in [0, 4, 32, u32::MAX] {
            let mut factory = BuiltinControllers::new(mode);
            factory.initial_window = initial_window;
            let report =
                conformance::check(|path| factory.make(path)).unwrap_or_else(|failure| panic!("{failure}"));
            println!("{mode:?} from {initial_window}: {report}");
            assert!(report.events > 50_000, "{report}");
        }
    }
}

#[test]
fn a_boxed_controller_conforms() {
    let mut turn = std::sync::atomic::AtomicBool::new(false);
    for conservative in [true, false] {
        *turn.get_mut() = conservative;
        conformance::check(|path| -> Box<dyn CongestionController> {
            if turn.load(std::sync::atomic::Ordering::Relaxed) {
                Box::new(Conservative::new(path))
            } else {
                Box::new(Aggressive)
            }
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    }
}
