//! What every answer over HTTP has and shows: its headers, what readers get of a ledger in which something has
//! happened, proofs of the log, what a check says, and what the service writes about itself.

mod access;
mod check;
mod headers;
mod log;
mod logs;
mod reads;
mod together;

use records::Body;
use tests::world::Desk;

/// USD 200,000.00 in the fund f1, a cleared case of north's and an open one of south's, and a bonus requested for the
/// first.
fn happen(desk: &Desk) {
    desk.fund("200000.00");
    desk.offer();
    desk.case("case-1", "north", true);
    desk.case("case-2", "south", false);
    desk.ok("anna", Body::Request(desk.request("d-1", "case-1", "bonus", "100000.00")));
}
