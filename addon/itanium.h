// C++ names by the Itanium ABI ("Mangling"): read into a tree, which is then printed. Names come
// from the target's file and may be hostile: recursion, the tree and what is printed are bounded,
// nothing is tried twice, and whoever goes beyond throws Undecodable.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace itanium {

struct Undecodable {};

constexpr unsigned DEEPEST = 400;

// One level of a recursion.
class Deeper {
  public:
    explicit Deeper(unsigned &depth) : depth_(depth) {
        if (depth_ >= DEEPEST)
            throw Undecodable{};
        depth_++;
    }
    Deeper(const Deeper &) = delete;
    Deeper &operator=(const Deeper &) = delete;
    ~Deeper() { depth_--; }

  private:
    unsigned &depth_;
};

enum class Kind : uint8_t {
    TEXT,
    STANDARD, // one of the library's abbreviations; text is the short form
    SEQUENCE, // its list, one after another
    LIST,     // its list, with commas between
    SCOPED,   // left::right
    TEMPLATE, // left<list>
    STRUCTOR, // of the class left; text is "~" for a destructor
    ENCODING, // a function: name left, parameters in the list
    THUNK,    // text, then the encoding left
    QUALIFIED,
    VENDOR_QUALIFIED,
    POINTER,
    REFERENCE,
    FUNCTION, // returns left, parameters in the list
    ARRAY,    // of left, as many as right
    MEMBER_POINTER,
    PARAMETER_PACK, // one of its list, as the expansion around it says
    EXPANSION,
    FORWARD, // a template parameter that is known later
};

enum Flag : uint8_t {
    CONST = 1,
    VOLATILE = 2,
    RESTRICT = 4,
    LVALUE = 8,
    RVALUE = 16,
    NOEXCEPT = 32,
    HAS_PARAMETERS = 64,
};

using Id = uint32_t;
constexpr Id NONE = 0;

struct Node {
    Kind kind = Kind::TEXT;
    uint8_t flags = 0;
    Id left = NONE;
    Id right = NONE;
    uint32_t first = 0; // of its list
    uint32_t count = 0;
    std::string_view text = {};
};

struct Tree {
    std::vector<Node> nodes;
    std::vector<Id> lists;
    std::deque<std::string> texts; // those that are not in the mangled name itself

    void clear();
    Id add(Node node);
    Id text(std::string_view text) { return add({.text = text}); }
    Id number(std::string_view before, uint64_t number, std::string_view after);
    Id list(Kind kind, const std::vector<Id> &items, Node node = {});
    Id sequence(std::initializer_list<Id> items) { return list(Kind::SEQUENCE, items); }
};

// What a function's name says about the rest of its encoding.
struct NameState {
    uint8_t flags = 0;
    bool is_template = false;
    bool has_no_return_type = false; // constructors, destructors and conversions
};

class Parser {
  public:
    // Without what follows the encoding, such as ".isra.0". `mangled` begins behind "_Z".
    Parser(std::string_view mangled, Tree &tree) : text_(mangled), tree_(tree) {}

    // The whole name; a function whose parameters are not understood has none.
    Id parse();

  private:
    // itanium_names.cc
    Id encoding(bool is_outermost);
    Id special();
    Id name(NameState *state);
    Id unscoped_name(NameState *state, bool *is_substitution);
    Id nested_name(NameState *state);
    Id local_name(NameState *state);
    Id unqualified_name(NameState *state, Id scope);
    Id unnamed_type();
    Id structor(NameState *state, Id &scope);
    Id operator_name(NameState *state);
    Id source_name();
    Id substitution();
    Id template_parameter();
    Id with_arguments(Id name, bool tags);
    Id template_argument();
    void skip_tags(bool *had_tags = nullptr);
    void skip_discriminator();
    void skip_call_offset();
    void skip_template_declarations();
    Id base_name(Id name) const;

    // itanium_types.cc
    Id type(bool is_conversion = false);
    Id qualified_type();
    Id function_type();
    Id array_type();
    Id builtin(char letter);
    Id extended_builtin();
    Id class_or_enum();
    Id decltype_of();
    void parameters(std::vector<Id> &types);
    uint8_t cv_qualifiers();

    // itanium_expressions.cc
    Id expression();
    Id literal();
    Id function_parameter();
    Id unresolved_name(bool is_global);
    Id base_unresolved_name();
    Id simple_id();
    Id braced();
    Id fold();
    Id parenthesized(Id expression);
    Id operand_text(std::string_view operator_text, Id left, Id right);
    std::vector<Id> until_end();

    bool at_end() const { return at_ >= text_.size(); }
    char look(size_t ahead = 0) const {
        return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
    }
    bool take(std::string_view expected);
    char next();
    std::string_view digits();
    uint64_t number();
    uint64_t sequence_number(); // [NUMBER] _, counted from 1
    [[noreturn]] static void fail() { throw Undecodable{}; }

    std::string_view text_;
    size_t at_ = 0;
    unsigned depth_ = 0;
    unsigned lambdas_ = 0; // whose parameters are being read
    bool may_refer_forward_ = false;
    Tree &tree_;
    std::vector<Id> substitutions_;
    std::vector<Id> template_parameters_;
    std::vector<Id> forward_;
};

class Printer {
  public:
    Printer(const Tree &tree, std::string &out) : tree_(tree), out_(out), start_(out.size()) {}

    // `with_parameters` is about the outermost function alone.
    void print(Id name, bool with_parameters);
    uint64_t steps() const { return steps_; }

  private:
    void whole(Id id);
    void left(Id id);
    void right(Id id);
    void encoding(const Node &node, bool with_parameters);
    void comma_list(const Node &node);
    void template_arguments(const Node &node);
    void expansion(const Node &node);
    void qualifiers(uint8_t flags);
    void open_declarator(Id type);
    Id collapsed(const Node &reference, bool &is_lvalue);
    void meet(const Node &pack);
    uint8_t already(Id type) const;
    Id element(const Node &pack) const;
    // What stands around a declarator: through qualifiers and template parameters.
    Kind shape(Id type) const;
    const Node &node(Id id) const { return tree_.nodes[id]; }
    void add(std::string_view text);

    static constexpr uint32_t NO_PACK = UINT32_MAX;

    const Tree &tree_;
    std::string &out_;
    size_t start_;
    uint64_t steps_ = 0;
    unsigned depth_ = 0;
    uint32_t pack_index_ = 0;
    uint32_t pack_size_ = NO_PACK;
};

struct Operator {
    char code[2];
    uint8_t operands; // in an expression; 0: it has a syntax of its own
    const char *text;
};
const Operator *find_operator(char first, char second);

} // namespace itanium
