#include <algorithm>

#include "itanium.h"
#include "rust_names.h"
#include "utf8.h"

namespace rust {

namespace {

using itanium::Deeper;
using itanium::Undecodable;

constexpr size_t LONGEST = 16u << 10;
// References back can make a short name enormous.
constexpr uint64_t MOST_STEPS = 1u << 16;
constexpr uint64_t MOST_LIFETIMES = 64;

// By letter; those that are missing begin other types.
constexpr const char *BASIC_TYPES[] = {
    "i8",    "bool",  "char", "f64", "str",   "f32",  nullptr, "u8",    "isize",
    "usize", nullptr, "i32",  "u32", "i128",  "u128", "_",     nullptr, nullptr,
    "i16",   "u16",   "()",   "...", nullptr, "i64",  "u64",   "!",
};

const char *basic_type(char letter) {
    return letter >= 'a' && letter <= 'z' ? BASIC_TYPES[letter - 'a'] : nullptr;
}

class Printer {
  public:
    Printer(std::string_view text, std::string &out) : text_(text), out_(out), start_(out.size()) {}

    void print() {
        path(true);
        // Where it was instantiated.
        if (at_ < text_.size() && text_[at_] != '.' && text_[at_] != '$') {
            silent_++;
            path(false);
            silent_--;
        }
        if (at_ < text_.size() && text_[at_] != '.' && text_[at_] != '$')
            fail();
    }

    uint64_t steps() const { return steps_; }

  private:
    struct Identifier {
        std::string_view text;
        bool is_punycode = false;
    };

    [[noreturn]] static void fail() { throw Undecodable{}; }

    char look() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    char next() {
        if (at_ >= text_.size())
            fail();
        return text_[at_++];
    }
    bool take(char expected) {
        if (look() != expected)
            return false;
        at_++;
        return true;
    }
    void add(std::string_view text) {
        if (silent_ > 0)
            return;
        if (out_.size() - start_ + text.size() > LONGEST)
            fail();
        out_ += text;
    }
    void step() {
        if (++steps_ > MOST_STEPS)
            fail();
    }

    uint64_t base_62() {
        if (take('_'))
            return 0;
        uint64_t value = 0;
        while (!take('_')) {
            char digit = next();
            uint64_t worth;
            if (digit >= '0' && digit <= '9')
                worth = static_cast<uint64_t>(digit - '0');
            else if (digit >= 'a' && digit <= 'z')
                worth = static_cast<uint64_t>(digit - 'a') + 10;
            else if (digit >= 'A' && digit <= 'Z')
                worth = static_cast<uint64_t>(digit - 'A') + 36;
            else
                fail();
            if (value > (UINT64_MAX - worth - 1) / 62)
                fail();
            value = value * 62 + worth;
        }
        return value + 1;
    }
    uint64_t optional_base_62(char mark) { return take(mark) ? base_62() + 1 : 0; }

    Identifier identifier() {
        Identifier identifier;
        identifier.is_punycode = take('u');
        size_t length = 0;
        if (look() < '0' || look() > '9')
            fail();
        if (!take('0'))
            while (look() >= '0' && look() <= '9') {
                length = length * 10 + static_cast<size_t>(next() - '0');
                if (length > text_.size())
                    fail();
            }
        take('_');
        if (length > text_.size() - at_)
            fail();
        identifier.text = text_.substr(at_, length);
        at_ += length;
        return identifier;
    }

    void add(const Identifier &identifier) {
        if (!identifier.is_punycode) {
            add(identifier.text);
            return;
        }
        std::string decoded;
        if (silent_ == 0 && !append_punycode(identifier.text, decoded))
            fail();
        add(decoded);
    }

    // Runs `print` where a reference leads: always back, so that it ends.
    template <typename Print> void back_reference(Print print) {
        size_t mark = at_ - 1;
        uint64_t target = base_62();
        if (target >= mark)
            fail();
        if (silent_ > 0)
            return;
        size_t after = at_;
        at_ = target;
        print();
        at_ = after;
    }

    void path(bool is_value) {
        Deeper deeper(depth_);
        step();
        switch (next()) {
        case 'C':
            optional_base_62('s');
            add(identifier());
            break;
        case 'N': {
            char space = next();
            path(is_value);
            uint64_t disambiguator = optional_base_62('s');
            Identifier name = identifier();
            if (space >= 'A' && space <= 'Z') {
                add("::{");
                add(space == 'C'   ? std::string_view("closure")
                    : space == 'S' ? std::string_view("shim")
                                   : std::string_view(&space, 1));
                if (!name.text.empty()) {
                    add(":");
                    add(name);
                }
                add("#" + std::to_string(disambiguator) + "}");
            } else if (space >= 'a' && space <= 'z') {
                if (!name.text.empty()) {
                    add("::");
                    add(name);
                }
            } else {
                fail();
            }
            break;
        }
        case 'M':
        case 'X': {
            bool has_trait = text_[at_ - 1] == 'X';
            // Where the implementation stands is of no interest.
            optional_base_62('s');
            silent_++;
            path(false);
            silent_--;
            implementation(has_trait);
            break;
        }
        case 'Y':
            implementation(true);
            break;
        case 'I':
            path(is_value);
            if (is_value)
                add("::");
            add("<");
            generic_arguments();
            add(">");
            break;
        case 'B':
            back_reference([&] { path(is_value); });
            break;
        default:
            fail();
        }
    }

    void implementation(bool has_trait) {
        add("<");
        type();
        if (has_trait) {
            add(" as ");
            path(false);
        }
        add(">");
    }

    void generic_arguments() {
        for (bool is_first = true; !take('E'); is_first = false) {
            if (!is_first)
                add(", ");
            generic_argument();
        }
    }

    void generic_argument() {
        if (take('L'))
            lifetime(base_62());
        else if (take('K'))
            constant();
        else
            type();
    }

    void lifetime(uint64_t index) {
        if (index == 0) {
            add("'_");
            return;
        }
        if (index > lifetimes_)
            fail();
        uint64_t depth = lifetimes_ - index;
        if (depth < 26)
            add(std::string{'\'', static_cast<char>('a' + depth)});
        else
            add("'_" + std::to_string(depth));
    }

    template <typename Print> void with_binder(Print print) {
        uint64_t count = optional_base_62('G');
        if (count > MOST_LIFETIMES || lifetimes_ + count > MOST_LIFETIMES)
            fail();
        if (count > 0) {
            add("for<");
            for (uint64_t i = 0; i < count; i++) {
                if (i > 0)
                    add(", ");
                lifetimes_++;
                lifetime(1);
            }
            add("> ");
        }
        print();
        lifetimes_ -= count;
    }

    void type() {
        Deeper deeper(depth_);
        step();
        if (const char *basic = basic_type(look())) {
            at_++;
            add(basic);
            return;
        }
        switch (next()) {
        case 'A':
            add("[");
            type();
            add("; ");
            constant();
            add("]");
            break;
        case 'S':
            add("[");
            type();
            add("]");
            break;
        case 'T': {
            add("(");
            size_t count = 0;
            for (; !take('E'); count++) {
                if (count > 0)
                    add(", ");
                type();
            }
            add(count == 1 ? ",)" : ")");
            break;
        }
        case 'R':
            reference("&");
            break;
        case 'Q':
            reference("&mut ");
            break;
        case 'P':
            add("*const ");
            type();
            break;
        case 'O':
            add("*mut ");
            type();
            break;
        case 'F':
            with_binder([&] { function(); });
            break;
        case 'D':
            add("dyn ");
            with_binder([&] {
                for (bool is_first = true; !take('E'); is_first = false) {
                    if (!is_first)
                        add(" + ");
                    dyn_trait();
                }
            });
            if (!take('L'))
                fail();
            if (uint64_t index = base_62()) {
                add(" + ");
                lifetime(index);
            }
            break;
        case 'B':
            back_reference([&] { type(); });
            break;
        default:
            at_--;
            path(false);
        }
    }

    void reference(std::string_view mark) {
        add("&");
        if (take('L'))
            if (uint64_t index = base_62()) {
                lifetime(index);
                add(" ");
            }
        add(mark.substr(1));
        type();
    }

    void function() {
        if (take('U'))
            add("unsafe ");
        if (take('K')) {
            add("extern \"");
            if (take('C')) {
                add("C");
            } else {
                std::string abi(identifier().text);
                std::replace(abi.begin(), abi.end(), '_', '-');
                add(abi);
            }
            add("\" ");
        }
        add("fn(");
        for (bool is_first = true; !take('E'); is_first = false) {
            if (!is_first)
                add(", ");
            type();
        }
        add(")");
        if (take('u'))
            return;
        add(" -> ");
        type();
    }

    // A trait and its associated types share one pair of brackets.
    void dyn_trait() {
        bool is_open = open_path();
        while (take('p')) {
            add(is_open ? ", " : "<");
            is_open = true;
            add(identifier());
            add(" = ");
            type();
        }
        if (is_open)
            add(">");
    }

    bool open_path() {
        Deeper deeper(depth_);
        step();
        if (take('B')) {
            bool is_open = false;
            back_reference([&] { is_open = open_path(); });
            return is_open;
        }
        if (!take('I')) {
            path(false);
            return false;
        }
        path(false);
        add("<");
        generic_arguments();
        return true;
    }

    void constant() {
        Deeper deeper(depth_);
        step();
        if (take('B')) {
            back_reference([&] { constant(); });
            return;
        }
        if (take('p')) {
            add("_");
            return;
        }
        char kind = next();
        bool is_negative = take('n');
        size_t start = at_;
        while ((look() >= '0' && look() <= '9') || (look() >= 'a' && look() <= 'f'))
            at_++;
        std::string_view digits = text_.substr(start, at_ - start);
        if (!take('_'))
            fail();
        std::string_view significant =
            digits.substr(std::min(digits.find_first_not_of('0'), digits.size()));
        uint64_t value = 0;
        bool fits = significant.size() <= 16;
        for (char digit : significant.substr(0, 16))
            value =
                value * 16 + static_cast<uint64_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
        if (kind == 'b' && fits && value <= 1) {
            add(value ? "true" : "false");
        } else if (kind == 'c' && fits && value <= UINT32_MAX) {
            std::string character;
            if (value < ' ' || value == '\'' || value == '\\' || value == 0x7f) {
                static constexpr char DIGITS[] = "0123456789abcdef";
                character = std::string("\\x") + DIGITS[(value >> 4) & 15] + DIGITS[value & 15];
            } else if (!append_utf8(static_cast<uint32_t>(value), character)) {
                fail();
            }
            add("'" + character + "'");
        } else if (std::string_view("asltxnihmjyo").find(kind) != std::string_view::npos) {
            if (is_negative)
                add("-");
            add(fits ? std::to_string(value) : "0x" + std::string(significant));
        } else {
            // Strings and structures; rustc does not write them yet unless told to.
            fail();
        }
    }

    std::string_view text_;
    std::string &out_;
    size_t start_;
    size_t at_ = 0;
    unsigned depth_ = 0;
    unsigned silent_ = 0;
    uint64_t steps_ = 0;
    uint64_t lifetimes_ = 0;
};

} // namespace

bool demangle_v0(std::string_view mangled, std::string &out, uint64_t &steps) {
    // A digit would be the version of an encoding to come.
    if (mangled.substr(0, 2) != "_R" || mangled.size() < 3 || mangled[2] < 'A' || mangled[2] > 'Z')
        return false;
    Printer printer(mangled.substr(2), out);
    bool is_known = true;
    try {
        printer.print();
    } catch (const Undecodable &) {
        is_known = false;
    }
    steps += printer.steps();
    return is_known;
}

} // namespace rust
