//! The ways in which modems spell a caller, as data: one row for each, with who was seen to write so.
//!
//! Nobody has standardised the text. The rows come from the modems' manuals, from bug reports of people whose modem was
//! not understood, and from mgetty's table (`cnd.c` of mgetty 1.2.1, written by its users over twenty years);
//! `cargo xtask test` holds the two against each other.

/// One way to spell one line of a caller-ID block.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// How the line begins. Of two rows that fit, the earlier counts.
    pub tag: &'static str,
    pub(crate) separator: Separator,
    pub(crate) says: Says,
    /// A whole line, and what is read from it: digits, the name of an absence, or `-` for a line without the caller.
    pub example: (&'static str, &'static str),
    /// Who writes so, and where that was read.
    pub source: &'static str,
}

/// What stands between tag and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    /// `=`, with or without blanks around it.
    Equals,
    /// `:`, with or without a blank behind it.
    Colon,
    /// The value follows at once.
    Nothing,
}

/// What the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// The caller's number, perhaps with dashes and parentheses, or a code for its absence.
    Number,
    /// Why there is no number.
    WhyNot,
    /// `"number",type,...`
    Clip,
    /// `caller TO:called`
    FromTo,
    /// `caller;called`
    RingCallerCalled,
    /// `caller*subaddress`
    RingCallerSub,
    /// Parameters as the exchange sent them, in hex.
    Packet,
    /// Not who is calling.
    Nothing,
}

const fn row(
    tag: &'static str,
    separator: Separator,
    says: Says,
    example: (&'static str, &'static str),
    source: &'static str,
) -> Dialect {
    Dialect {
        tag,
        separator,
        says,
        example,
        source,
    }
}

use Says::{
    Clip, FromTo, Nothing as NotTheCaller, Number, Packet, RingCallerCalled, RingCallerSub, WhyNot,
};
use Separator::{Colon, Equals, Nothing};

/// Every spelling known. Besides these, a line of nothing but digits is a caller (ELINK 301 with `AT\O`, mgetty), and a
/// line of hex whose checksum is right is an unformatted packet (`AT+VCID=2`).
pub const DIALECTS: &[Dialect] = &[
    row(
        "RING;",
        Nothing,
        RingCallerCalled,
        ("RING;08912345;08765", "08912345"),
        "ELSA MicroLink with S153=6: mgetty",
    ),
    row(
        "RING ",
        Nothing,
        RingCallerSub,
        ("RING 0312345678*01", "0312345678"),
        "Japanese TAs: new-test.technical.jp 4-41",
    ),
    row(
        "NMBR",
        Equals,
        Number,
        ("NMBR = 0661234567", "0661234567"),
        "Rockwell, Conexant: docslib S0000206; USR5637, without blanks: thess/callattendant 11",
    ),
    row(
        "DDN_NMBR",
        Equals,
        Number,
        ("DDN_NMBR= 0661234567", "0661234567"),
        "some Rockwell chips: mgetty",
    ),
    row(
        "NBR",
        Equals,
        Number,
        ("NBR=0661234567", "0661234567"),
        "Kortex Adaptix 56000: mgetty",
    ),
    row(
        "CALLER NUMBER",
        Colon,
        Number,
        ("CALLER NUMBER: 066-123-4567", "0661234567"),
        "ZyXEL 1496: mgetty; Motorola, with dashes: hollie/misterhouse",
    ),
    row(
        "CALLER'S NUMBER",
        Colon,
        Number,
        ("CALLER'S NUMBER: 0661234567", "0661234567"),
        "mgetty",
    ),
    row(
        "CallerID",
        Colon,
        Number,
        ("CallerID: 0661234567", "0661234567"),
        "Russian USR Courier: mgetty",
    ),
    row(
        "REASON FOR NO CALLER NUMBER",
        Colon,
        WhyNot,
        ("REASON FOR NO CALLER NUMBER: OUT OF AREA", "Unavailable"),
        "ZyXEL 1496: mgetty",
    ),
    row(
        "FM",
        Colon,
        FromTo,
        ("FM:08912345 TO:08765", "08912345"),
        "ZyXEL 2864I: mgetty",
    ),
    row(
        "+CLIP",
        Colon,
        Clip,
        ("+CLIP: \"0661234567\",129,,,\"\",0", "0661234567"),
        "GSM: TS 27.007 §7.11; Siemens AT manual for the validity",
    ),
    row(
        "MESG",
        Equals,
        Packet,
        ("MESG = 030735353531323132", "5551212"),
        "Rockwell in Canada: mgetty; 080150 and 08014F are absences: hollie/misterhouse",
    ),
    row(
        "REASON FOR NO CALLER NAME",
        Colon,
        NotTheCaller,
        ("REASON FOR NO CALLER NAME: PRIVATE", "-"),
        "ZyXEL 1496: mgetty",
    ),
    row(
        "CALLER NAME",
        Colon,
        NotTheCaller,
        ("CALLER NAME: PUSH SERVER", "-"),
        "ZyXEL 1496: mgetty",
    ),
    row(
        "CALLED NUMBER",
        Colon,
        NotTheCaller,
        ("CALLED NUMBER: 08765", "-"),
        "isdn4linux 2.4.10: mgetty",
    ),
    // mgetty takes it for the caller. It is who passed the call on: a stranger's call by way of a registered number.
    row(
        "Diverting number",
        Colon,
        NotTheCaller,
        ("Diverting number: 08765", "-"),
        "Telia, ZyXEL Omni 52k: mgetty",
    ),
    row(
        "TIME",
        Colon,
        NotTheCaller,
        ("TIME: 11-22 19:30", "-"),
        "ZyXEL 1496: mgetty",
    ),
    row(
        "DATE",
        Equals,
        NotTheCaller,
        ("DATE = 1122", "-"),
        "Rockwell: docslib S0000206",
    ),
    row(
        "TIME",
        Equals,
        NotTheCaller,
        ("TIME=1930", "-"),
        "Rockwell: docslib S0000206",
    ),
    row(
        "NAME",
        Equals,
        NotTheCaller,
        ("NAME=WIRELESS CALLER", "-"),
        "USR5637: thess/callattendant 11",
    ),
    row(
        "NDID",
        Equals,
        NotTheCaller,
        ("NDID=08765", "-"),
        "Digi, Patton: the number that was dialled; mgetty",
    ),
];
