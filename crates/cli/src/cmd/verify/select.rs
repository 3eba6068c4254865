//! Which rows, and in what order: expressions over the columns.

use super::column::{self, COLUMNS, Cell, FILE, Kind, PROGRAM};
use super::files::fits;
use super::record::Record;
use std::cmp::Ordering;
use std::path::Path;
use std::str::FromStr;

/// A column's value now, before, or the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    column: usize,
    side: Side,
    absolute: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Now,
    Before,
    Difference,
    Percent,
}

/// What rows are shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    /// By names: `FILE/PROGRAM`, or either.
    Name { unless: bool, glob: String },
    /// By a value.
    Test(Test),
}

/// `FIELD OPERATOR VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    field: Field,
    operator: Operator,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operator {
    sign: &'static str,
    /// Whether it holds for a left side that is less, equal, greater.
    holds: [bool; 3],
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// In hundredths.
    Number(i128),
    Text(String),
}

/// One way to sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    field: Field,
    ascending: bool,
}

/// The longer ones first: `<=` begins with `<`.
const OPERATORS: [Operator; 7] = [
    Operator { sign: "==", holds: [false, true, false] },
    Operator { sign: "!=", holds: [true, false, true] },
    Operator { sign: "<=", holds: [true, true, false] },
    Operator { sign: ">=", holds: [false, true, true] },
    Operator { sign: "=", holds: [false, true, false] },
    Operator { sign: "<", holds: [true, false, false] },
    Operator { sign: ">", holds: [false, false, true] },
];

const SIDES: [(&str, Side); 3] =
    [(".before", Side::Before), (".diff", Side::Difference), (".pct", Side::Percent)];

impl FromStr for Field {
    type Err = String;

    /// `insns`, `insns.before`, `insns.diff`, `insns.pct`; between bars, without its sign.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
        let name = bare.unwrap_or(text).trim();
        let sided = SIDES.iter().find_map(|(end, side)| Some((name.strip_suffix(end)?, *side)));
        let (name, side) = sided.unwrap_or((name, Side::Now));
        let column = column::find(name).ok_or_else(|| format!("there is no column `{name}`"))?;
        let is_number = COLUMNS.get(column).is_some_and(column::Column::is_number);
        if !is_number && (bare.is_some() || matches!(side, Side::Difference | Side::Percent)) {
            return Err(format!("`{name}` is no number"));
        }
        Ok(Self { column, side, absolute: bare.is_some() })
    }
}

impl Field {
    /// Whether it speaks of an earlier run.
    pub(super) fn compares(self) -> bool {
        self.side != Side::Now
    }

    fn kind(self) -> Kind {
        COLUMNS.get(self.column).map_or(Kind::Text, |column| column.kind)
    }

    /// In hundredths: percentages have them.
    fn number(self, row: &Record) -> Option<i128> {
        let plain = |cell: &Cell| cell.as_number().map(|number| i128::from(number) * 100);
        let number = match self.side {
            Side::Now => plain(row.cell(self.column)),
            Side::Before => plain(row.before(self.column)),
            Side::Difference => row.change(self.column).map(|change| change.difference * 100),
            // What was nothing has grown beyond any percentage.
            Side::Percent => row.change(self.column).map(|change| change.percent.unwrap_or(i128::MAX)),
        }?;
        Some(if self.absolute { number.saturating_abs() } else { number })
    }

    fn text(self, row: &Record) -> &str {
        if self.side == Side::Before {
            row.before(self.column).as_text()
        } else {
            row.cell(self.column).as_text()
        }
    }

    fn compare(self, one: &Record, other: &Record) -> Ordering {
        match self.kind() {
            Kind::Text | Kind::Verdict => self.text(one).cmp(self.text(other)),
            Kind::Count | Kind::Time => {
                let [one, other] = [one, other].map(|row| self.number(row));
                one.cmp(&other)
            }
        }
    }
}

impl FromStr for Test {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['=', '<', '>', '!']).ok_or("it has the form COLUMN>NUMBER or COLUMN=TEXT")?;
        let (name, rest) = text.split_at(at);
        let operator = OPERATORS.iter().find(|operator| rest.starts_with(operator.sign));
        let operator = *operator.ok_or_else(|| format!("`{rest}` begins with no comparison"))?;
        let wanted = rest.strip_prefix(operator.sign).unwrap_or_default().trim();
        let field: Field = name.trim().parse()?;
        let wanted = match field.kind() {
            Kind::Text | Kind::Verdict if operator.holds[0] == operator.holds[2] => {
                Wanted::Text(wanted.to_owned())
            }
            Kind::Text | Kind::Verdict => {
                return Err(format!("`{}` is text: = and != compare it", name.trim()));
            }
            Kind::Time if field.side != Side::Percent => Wanted::Number(time(wanted)?),
            Kind::Count | Kind::Time => Wanted::Number(number(wanted.trim_end_matches('%'))?),
        };
        Ok(Self { field, operator, wanted })
    }
}

impl Test {
    /// Whether it speaks of an earlier run.
    pub(super) fn compares(&self) -> bool {
        self.field.compares()
    }

    /// What is not there fits nothing but `!=`.
    pub(super) fn fits(&self, row: &Record) -> bool {
        let [less, equal, greater] = self.operator.holds;
        match &self.wanted {
            Wanted::Text(glob) => {
                if fits(glob, self.field.text(row)) {
                    equal
                } else {
                    less
                }
            }
            Wanted::Number(wanted) => match self.field.number(row).map(|number| number.cmp(wanted)) {
                Some(Ordering::Less) => less,
                Some(Ordering::Equal) => equal,
                Some(Ordering::Greater) => greater,
                None => less && greater,
            },
        }
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (unless, glob) = match text.strip_prefix('!') {
            Some(glob) => (true, glob),
            None => (false, text),
        };
        if glob.is_empty() {
            return Err("it is empty".to_owned());
        }
        if glob.contains(['=', '<', '>', '!']) && !unless {
            return text.parse().map(Self::Test);
        }
        Ok(Self::Name { unless, glob: glob.to_owned() })
    }
}

/// Whether a row is shown: no name that is excluded, one of the names if there are any, and every test.
pub(super) fn shown(filters: &[Filter], row: &Record) -> bool {
    let tests = filters.iter().all(|filter| !matches!(filter, Filter::Test(test) if !test.fits(row)));
    let names = |unless: bool| {
        filters.iter().filter_map(move |filter| match filter {
            Filter::Name { unless: this, glob } if *this == unless => Some(glob.as_str()),
            _ => None,
        })
    };
    let excluded = names(true).any(|glob| named(glob, row));
    tests && !excluded && (names(false).next().is_none() || names(false).any(|glob| named(glob, row)))
}

/// `FILE/PROGRAM`, or the name of a program or of a file.
fn named(glob: &str, row: &Record) -> bool {
    let (file, program) = (row.cell(FILE).as_text(), row.cell(PROGRAM).as_text());
    let name = Path::new(file).file_name().map_or(file.into(), |name| name.to_string_lossy());
    match glob.rsplit_once('/') {
        Some((files, programs)) => (fits(files, file) || fits(files, &name)) && fits(programs, program),
        None => fits(glob, &name) || (!program.is_empty() && fits(glob, program)),
    }
}

impl FromStr for Order {
    type Err = String;

    /// `COLUMN`, `COLUMN:asc`, `COLUMN:desc`. Numbers begin with the greatest, names with the first.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, ascending) = match text.rsplit_once(':') {
            Some((name, "asc")) => (name, Some(true)),
            Some((name, "desc")) => (name, Some(false)),
            Some((_, other)) => return Err(format!("`{other}` is neither asc nor desc")),
            None => (text, None),
        };
        let field: Field = name.parse()?;
        // `refused` and `unreadable` before `accepted`: they are what is looked for.
        let ascending = ascending.unwrap_or(field.kind() == Kind::Text);
        Ok(Self { field, ascending })
    }
}

impl Order {
    /// Whether it speaks of an earlier run.
    pub(super) fn compares(self) -> bool {
        self.field.compares()
    }
}

/// Sorts rows: by file and program where the orders leave it open.
pub(super) fn sort(rows: &mut [&Record], orders: &[Order]) {
    rows.sort_by(|one, other| {
        let by = orders.iter().map(|order| {
            let found = order.field.compare(one, other);
            if order.ascending { found } else { found.reverse() }
        });
        let names = [FILE, PROGRAM].map(|at| one.cell(at).cmp(other.cell(at)));
        by.chain(names).find(|found| found.is_ne()).unwrap_or(Ordering::Equal)
    });
}

/// Hundredths of a number with up to two decimals.
fn number(text: &str) -> Result<i128, String> {
    let wrong = || format!("`{text}` is no number");
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |digits: &str| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    if !plain(whole) || !plain(decimals) || decimals.len() > 2 {
        return Err(wrong());
    }
    let hundredths = u64::from_str(&format!("{whole}{decimals:0<2}")).map_err(|_| wrong())?;
    Ok(if negative { -i128::from(hundredths) } else { hundredths.into() })
}

/// Hundredths of the nanoseconds of a time in microseconds, or with a unit.
fn time(text: &str) -> Result<i128, String> {
    let units = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let unit = units.iter().find_map(|(end, factor)| Some((text.strip_suffix(end)?, *factor)));
    let (text, factor) = unit.unwrap_or((text, 1_000));
    Ok(number(text.trim())? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(insns: u64, before: Option<u64>) -> Record {
        let cells = |insns: u64| {
            let of = |column: &column::Column| match column.name {
                "file" => Cell::Text("dir/flows.bpf.o".to_owned()),
                "program" => Cell::Text("ingress".to_owned()),
                "verdict" => Cell::Text("accepted".to_owned()),
                "insns" => Cell::Number(insns),
                "time" => Cell::Number(insns * 1000),
                _ => Cell::None,
            };
            COLUMNS.iter().map(of).collect::<Vec<_>>()
        };
        Record { cells: cells(insns), before: before.map(cells), ..Record::default() }
    }

    #[test]
    fn tests_compare_now_before_and_the_difference() {
        let row = row(90, Some(100));
        for text in [
            "insns>89",
            "insns >= 90",
            "insns!=91",
            "insns.before=100",
            "insns.diff<0",
            "|insns.diff|>9",
            "insns.pct<=-10%",
            "insns.pct>-10.01",
            "time=0.09ms",
            "time<91",
            "time=90us",
            "time<1ms",
            "verdict=acc*",
            "verdict!=refused",
            "insns_processed<100",
            "states!=1",
        ] {
            assert!(text.parse::<Test>().is_ok_and(|test| test.fits(&row)), "{text}");
        }
        for text in ["insns<90", "insns.diff>0", "time>1ms", "verdict=refused", "states=0", "file=x"] {
            assert!(text.parse::<Test>().is_ok_and(|test| !test.fits(&row)), "{text}");
        }
        for text in
            ["insns", "insns>", "insns>x", "nothing>1", "file>a", "|file|=a", "insns=>1", "verdict.pct=1", ""]
        {
            assert!(text.parse::<Test>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_one_of_the_named_and_none_of_the_excluded() {
        let row = row(1, None);
        let is_shown = |filters: &[&str]| {
            let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
            shown(&filters, &row)
        };
        assert!(is_shown(&[]) && is_shown(&["in*"]) && is_shown(&["flows*"]) && is_shown(&["x", "ingress"]));
        assert!(is_shown(&["flows.bpf.o/in*"]) && is_shown(&["dir/*/in*"]) && is_shown(&["!e*"]));
        assert!(!is_shown(&["x"]) && !is_shown(&["!in*"]) && !is_shown(&["in*", "!flows*"]));
        assert!(!is_shown(&["in*", "insns>1"]) && is_shown(&["in*", "insns<2", "verdict=accepted"]));
        assert!("!".parse::<Filter>().is_err() && "".parse::<Filter>().is_err());
    }

    #[test]
    fn rows_are_sorted_by_several_fields() {
        let (small, large, equal) = (row(1, Some(5)), row(2, Some(1)), row(2, Some(2)));
        let sorted = |orders: &[&str]| {
            let orders: Vec<Order> = orders.iter().map(|text| text.parse().unwrap()).collect();
            let mut rows = vec![&small, &large, &equal];
            sort(&mut rows, &orders);
            rows.iter().map(|row| row.before(10).as_number().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(&["insns", "insns.before"]), [2, 1, 5]);
        assert_eq!(sorted(&["insns:asc"]), [5, 1, 2]);
        assert_eq!(sorted(&["|insns.diff|:desc"]), [5, 1, 2]);
        assert_eq!(sorted(&["file", "insns.before:asc"]), [1, 2, 5]);
        assert!("insns:up".parse::<Order>().is_err() && "x".parse::<Order>().is_err());
    }
}
