// Instants, durations and names as policy and configuration write them.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>

#include "config/policy.h"
#include "config/report.h"

namespace bulkhead {
namespace {

using namespace std::chrono;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Takes what RFC 3339 §5.6 consists of from the front of a text; after a mismatch everything fails.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : left_(text) {}
  bool ok() const { return ok_; }
  void fail() { ok_ = false; }
  bool at_end() const { return left_.empty(); }
  char peek() const { return left_.empty() ? '\0' : left_.front(); }
  char take_one_of(std::string_view characters) {
    char c = peek();
    ok_ = ok_ && c != '\0' && characters.find(c) != std::string_view::npos;
    if (ok_) left_.remove_prefix(1);
    return c;
  }
  int take_number(size_t digits) {
    ok_ = ok_ && left_.size() >= digits && std::ranges::all_of(left_.substr(0, digits), is_digit);
    int value = 0;
    if (!ok_) return 0;
    for (char c : left_.substr(0, digits)) value = value * 10 + (c - '0');
    left_.remove_prefix(digits);
    return value;
  }
  size_t digits_ahead() const { return std::min(left_.find_first_not_of("0123456789"), left_.size()); }

 private:
  std::string_view left_;
  bool ok_ = true;
};

nanoseconds take_fraction(Cursor& cursor) {
  if (cursor.peek() != '.') return nanoseconds{0};
  cursor.take_one_of(".");
  size_t digits = cursor.digits_ahead();
  if (digits == 0 || digits > 9) cursor.fail();
  int64_t value = cursor.take_number(digits);
  for (size_t i = digits; i < 9; ++i) value *= 10;
  return nanoseconds{value};
}

/// The zone's distance from UTC; nothing where it is no zone.
std::optional<minutes> take_zone(Cursor& cursor) {
  char sign = cursor.take_one_of("Zz+-");
  if (!cursor.ok() || sign == 'Z' || sign == 'z') return minutes{0};
  int hour = cursor.take_number(2);
  cursor.take_one_of(":");
  int minute = cursor.take_number(2);
  if (hour > 23 || minute > 59) return std::nullopt;
  return (sign == '-' ? -1 : 1) * (hours{hour} + minutes{minute});
}

}  // namespace

Expected<WallTime> parse_time(std::string_view text) {
  auto bad = [&](const char* why) {
    return fail(ErrorCode::kInvalid,
                in_quotes(text) + " isn't a time: " + why + "; write it like 2027-01-31T00:00:00Z");
  };
  Cursor cursor(text);
  int y = cursor.take_number(4);
  cursor.take_one_of("-");
  int m = cursor.take_number(2);
  cursor.take_one_of("-");
  int d = cursor.take_number(2);
  cursor.take_one_of("Tt");
  int hour = cursor.take_number(2);
  cursor.take_one_of(":");
  int minute = cursor.take_number(2);
  cursor.take_one_of(":");
  int second = cursor.take_number(2);
  nanoseconds fraction = take_fraction(cursor);
  if (cursor.ok() && cursor.at_end()) return bad("its zone is missing (Z, or like +02:00)");
  auto zone = take_zone(cursor);
  if (!cursor.ok() || !cursor.at_end())
    return bad("it isn't RFC 3339, with at most nine digits of a second's fraction");
  year_month_day day{year{y}, month{static_cast<unsigned>(m)}, std::chrono::day{static_cast<unsigned>(d)}};
  if (!day.ok() || hour > 23 || minute > 59 || second > 59 || !zone)
    return bad("there is no such day or time of day");
  if (y < 1970 || y > 2261) return bad("the year must be from 1970 to 2261");
  auto instant = sys_days{day}.time_since_epoch() + hours{hour} + minutes{minute} + seconds{second} - *zone;
  return WallTime{duration_cast<nanoseconds>(instant).count() + fraction.count()};
}

std::string to_string(WallTime time) {
  sys_time<nanoseconds> instant{nanoseconds{time.ns}};
  auto midnight = floor<days>(instant);
  year_month_day day{midnight};
  hh_mm_ss<nanoseconds> clock{instant - midnight};
  std::array<char, 64> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%09d",
                static_cast<int>(day.year()), static_cast<unsigned>(day.month()),
                static_cast<unsigned>(day.day()), static_cast<int>(clock.hours().count()),
                static_cast<int>(clock.minutes().count()), static_cast<int>(clock.seconds().count()),
                static_cast<int>(clock.subseconds().count()));
  std::string text(buffer.data());
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + "Z";
}

Expected<Nanoseconds> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    int64_t ns;
  };
  constexpr Unit kUnits[] = {
      {"ms", 1'000'000}, {"s", 1'000'000'000}, {"m", 60'000'000'000}, {"h", 3'600'000'000'000}};
  auto bad =
      fail(ErrorCode::kInvalid, in_quotes(text) + " isn't a duration; write it like 250ms, 30s, 15m or 2h");
  int64_t count = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc{} || text.empty() || !is_digit(text[0]) ||
      (text[0] == '0' && end != text.data() + 1))
    return bad;
  std::string_view unit_name(end, static_cast<size_t>(text.data() + text.size() - end));
  auto unit = std::ranges::find(kUnits, unit_name, &Unit::name);
  if (unit == std::end(kUnits)) return bad;
  int64_t ns = 0;
  if (__builtin_mul_overflow(count, unit->ns, &ns)) return bad;
  return Nanoseconds{ns};
}

bool is_name(std::string_view text) {
  auto alphanumeric = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'z'); };
  return !text.empty() && text.size() <= 63 && alphanumeric(text[0]) &&
         std::ranges::all_of(text,
                             [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace bulkhead
