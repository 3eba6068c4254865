//! Asking rtnetlink.

use crate::exit::{Failure, Outcome};
use onebpf::Kernel;
use onebpf::netlink;
use onebpf::sys::{Errno, RouteReply};

/// The kernel said no to a filter, an action, a device or a route.
pub(crate) const REFUSED: &str = "E0910";
/// There is no such device or network namespace.
pub(crate) const NO_SUCH: &str = "E0911";

/// Sends a request; `what` begins the error: "adding a filter to `eth0`".
pub(crate) fn ask(kernel: &dyn Kernel, request: &[u8], what: &str) -> Outcome<RouteReply> {
    let reply = kernel
        .route(request)
        .map_err(|error| Failure::from(crate::report::of_kernel(REFUSED, what, error)))?;
    match reply.refused {
        None => Ok(reply),
        Some(errno) => {
            let words = if reply.text.is_empty() { String::new() } else { format!(" ({})", reply.text) };
            let report = onebpf::Report {
                code: REFUSED,
                message: format!("{what}: {errno}{words}"),
                errno: Some(errno),
                ..onebpf::Report::default()
            };
            Err(report.into())
        }
    }
}

/// The errno of a refusal.
pub(crate) fn errno(failure: &Failure) -> Option<Errno> {
    match failure {
        Failure::Failed { report, .. } => report.errno,
        _ => None,
    }
}

/// The number of a device.
pub(crate) fn ifindex(kernel: &dyn Kernel, name: &str) -> Outcome<u32> {
    let unknown = || Failure::new(NO_SUCH, format!("there is no network device `{name}`"));
    let reply = ask(kernel, &netlink::find_link(name), &format!("looking for `{name}`"));
    let reply = reply.map_err(|failure| match errno(&failure) {
        Some(Errno::PERM) => failure,
        _ => unknown(),
    })?;
    reply.messages.first().and_then(|message| netlink::link_index(message)).ok_or_else(unknown)
}
