// C declarators are printed inside out: what stands left of the declared, then what stands right.
#include <utility>

#include "itanium.h"

namespace itanium {

static constexpr size_t LONGEST = 16u << 10;
// Substitutions can make a short name enormous, and packs can do so without printing anything.
static constexpr uint64_t MOST_STEPS = 1u << 16;

void Printer::add(std::string_view text) {
    if (out_.size() - start_ + text.size() > LONGEST)
        throw Undecodable{};
    out_ += text;
}

void Printer::print(Id name, bool with_parameters) {
    const Node &top = node(name);
    if (top.kind == Kind::ENCODING) {
        encoding(top, with_parameters);
    } else if (top.kind == Kind::THUNK && node(top.left).kind == Kind::ENCODING) {
        add(top.text);
        encoding(node(top.left), with_parameters);
    } else {
        whole(name);
    }
}

void Printer::whole(Id id) {
    left(id);
    right(id);
}

void Printer::encoding(const Node &node, bool with_parameters) {
    whole(node.left);
    if (!with_parameters || !(node.flags & HAS_PARAMETERS))
        return;
    add("(");
    comma_list(node);
    add(")");
    qualifiers(node.flags);
}

void Printer::qualifiers(uint8_t flags) {
    if (flags & CONST)
        add(" const");
    if (flags & VOLATILE)
        add(" volatile");
    if (flags & RESTRICT)
        add(" __restrict");
    if (flags & LVALUE)
        add(" &");
    if (flags & RVALUE)
        add(" &&");
    if (flags & NOEXCEPT)
        add(" noexcept");
}

void Printer::comma_list(const Node &node) {
    bool is_first = true;
    for (uint32_t i = 0; i < node.count; i++) {
        size_t before = out_.size();
        if (!is_first)
            add(", ");
        size_t start = out_.size();
        whole(tree_.lists[node.first + i]);
        // An empty pack.
        if (out_.size() == start)
            out_.resize(before);
        else
            is_first = false;
    }
}

void Printer::template_arguments(const Node &node) {
    if (out_.size() > start_ && out_.back() == '<')
        add(" ");
    add("<");
    comma_list(node);
    add(out_.back() == '>' ? " >" : ">");
}

// The first pack in an expansion says how many there are.
void Printer::meet(const Node &pack) {
    if (pack_size_ == NO_PACK)
        pack_size_ = pack.count;
}

Id Printer::element(const Node &pack) const {
    return pack_index_ < pack.count ? tree_.lists[pack.first + pack_index_] : NONE;
}

void Printer::expansion(const Node &node) {
    uint32_t outer_index = std::exchange(pack_index_, 0);
    uint32_t outer_size = std::exchange(pack_size_, NO_PACK);
    size_t start = out_.size();
    whole(node.left);
    if (pack_size_ == NO_PACK) {
        add("...");
    } else if (pack_size_ == 0) {
        out_.resize(start);
    } else {
        for (pack_index_ = 1; pack_index_ < pack_size_; pack_index_++) {
            add(", ");
            whole(node.left);
        }
    }
    pack_index_ = outer_index;
    pack_size_ = outer_size;
}

Kind Printer::shape(Id type) const {
    for (unsigned hops = 0; hops < DEEPEST && type != NONE; hops++) {
        const Node &at = node(type);
        switch (at.kind) {
        case Kind::QUALIFIED:
        case Kind::VENDOR_QUALIFIED:
        case Kind::FORWARD:
            type = at.left;
            break;
        case Kind::PARAMETER_PACK:
            type = element(at);
            break;
        default:
            return at.kind;
        }
    }
    return Kind::TEXT;
}

// A template argument may be const as well as the parameter it stands for.
uint8_t Printer::already(Id type) const {
    for (unsigned hops = 0; hops < DEEPEST && type != NONE; hops++) {
        const Node &at = node(type);
        if (at.kind == Kind::QUALIFIED)
            return at.flags;
        if (at.kind == Kind::FORWARD)
            type = at.left;
        else if (at.kind == Kind::PARAMETER_PACK)
            type = element(at);
        else
            break;
    }
    return 0;
}

// A reference to a reference is one reference, an lvalue's if either is.
Id Printer::collapsed(const Node &reference, bool &is_lvalue) {
    is_lvalue = reference.flags & LVALUE;
    Id of = reference.left;
    for (unsigned hops = 0; hops < DEEPEST && of != NONE; hops++) {
        const Node &at = node(of);
        if (at.kind == Kind::REFERENCE) {
            is_lvalue = is_lvalue || (at.flags & LVALUE);
            of = at.left;
        } else if (at.kind == Kind::FORWARD && at.left != NONE) {
            of = at.left;
        } else if (at.kind == Kind::PARAMETER_PACK && element(at) != NONE) {
            meet(at);
            of = element(at);
        } else {
            break;
        }
    }
    return of;
}

void Printer::open_declarator(Id type) {
    Kind around = shape(type);
    if (around == Kind::ARRAY)
        add(" ");
    if (around == Kind::ARRAY || around == Kind::FUNCTION)
        add("(");
}

void Printer::left(Id id) {
    Deeper deeper(depth_);
    if (++steps_ > MOST_STEPS)
        throw Undecodable{};
    const Node &at = node(id);
    switch (at.kind) {
    case Kind::TEXT:
    case Kind::STANDARD:
        add(at.text);
        break;
    case Kind::SEQUENCE:
        for (uint32_t i = 0; i < at.count; i++)
            whole(tree_.lists[at.first + i]);
        break;
    case Kind::LIST:
        comma_list(at);
        break;
    case Kind::SCOPED:
        whole(at.left);
        add("::");
        whole(at.right);
        break;
    case Kind::TEMPLATE:
        whole(at.left);
        template_arguments(at);
        break;
    case Kind::STRUCTOR:
        add(at.text);
        whole(at.left);
        break;
    case Kind::ENCODING:
        encoding(at, true);
        break;
    case Kind::THUNK:
        add(at.text);
        whole(at.left);
        break;
    case Kind::QUALIFIED:
        left(at.left);
        qualifiers(at.flags & ~already(at.left));
        break;
    case Kind::VENDOR_QUALIFIED:
        left(at.left);
        add(at.text);
        break;
    case Kind::POINTER:
        left(at.left);
        open_declarator(at.left);
        add("*");
        break;
    case Kind::REFERENCE: {
        bool is_lvalue;
        Id of = collapsed(at, is_lvalue);
        size_t before = out_.size();
        left(of);
        // Of an element that the pack does not have.
        if (out_.size() == before)
            break;
        open_declarator(of);
        add(is_lvalue ? "&" : "&&");
        break;
    }
    case Kind::FUNCTION:
        left(at.left);
        add(" ");
        break;
    case Kind::ARRAY:
        left(at.left);
        break;
    case Kind::MEMBER_POINTER: {
        left(at.right);
        Kind around = shape(at.right);
        open_declarator(at.right);
        if (around != Kind::ARRAY && around != Kind::FUNCTION)
            add(" ");
        whole(at.left);
        add("::*");
        break;
    }
    case Kind::PARAMETER_PACK:
        meet(at);
        if (element(at) != NONE)
            left(element(at));
        break;
    case Kind::EXPANSION:
        expansion(at);
        break;
    case Kind::FORWARD:
        if (at.left == NONE)
            throw Undecodable{};
        left(at.left);
        break;
    }
}

void Printer::right(Id id) {
    Deeper deeper(depth_);
    if (++steps_ > MOST_STEPS)
        throw Undecodable{};
    const Node &at = node(id);
    auto close_declarator = [&](Id type) {
        Kind around = shape(type);
        if (around == Kind::ARRAY || around == Kind::FUNCTION)
            add(")");
        right(type);
    };
    switch (at.kind) {
    case Kind::QUALIFIED:
    case Kind::VENDOR_QUALIFIED:
    case Kind::FORWARD:
        right(at.left);
        break;
    case Kind::POINTER:
        close_declarator(at.left);
        break;
    case Kind::REFERENCE: {
        bool is_lvalue;
        close_declarator(collapsed(at, is_lvalue));
        break;
    }
    case Kind::MEMBER_POINTER:
        close_declarator(at.right);
        break;
    case Kind::FUNCTION:
        add("(");
        comma_list(at);
        add(")");
        right(at.left);
        qualifiers(at.flags);
        break;
    case Kind::ARRAY:
        if (out_.size() > start_ && out_.back() != ']')
            add(" ");
        add("[");
        if (at.right != NONE)
            whole(at.right);
        add("]");
        right(at.left);
        break;
    case Kind::PARAMETER_PACK:
        if (element(at) != NONE)
            right(element(at));
        break;
    default:
        break;
    }
}

} // namespace itanium
