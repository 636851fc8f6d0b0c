//! Closed months: their archives, what is read from them, and what takes them away.

mod clock;
mod killing;
mod moving;
mod past;
mod planted;
mod room;

use past::{Ends, Past, all_pages, give, month, tickets_of, wait_until};

use crate::rig::{Barman, Site, StandIn};

/// A site with users `ada`, who may do everything, and `eve`, who may do it to the server `other`.
fn site(stand_in: &StandIn, settings: &[&str]) -> Site {
    let site = Site::new(&Barman::StandIn(stand_in), settings);
    site.user("ada", &["--full"]);
    site.user("eve", &["--access", "barman@other,history"]);
    site
}
