// Functions of every shape that compilers make of C++, each called by main().
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#define KEEP __attribute__((noinline))

volatile long sink;

struct Shape {
    virtual ~Shape() {}
    virtual long area(long scale) const = 0;
    virtual long twice(long scale) const { return area(scale * 2); }
};
struct Named {
    virtual ~Named() {}
    virtual long name_length() const = 0;
};
struct Square : Shape, Named {
    explicit Square(long side) : side_(side) {}
    long area(long scale) const override { return side_ * side_ * scale; }
    long name_length() const override { return 6; }
    long side_;
};

KEEP long virtual_tail_call(const Shape &shape, long scale) { return shape.area(scale); }
KEEP long through_thunk(const Named &named) { return named.name_length() + 1; }

KEEP long throws(long a) {
    if (a % 3 == 0)
        throw std::runtime_error("divisible");
    return a;
}
KEEP long is_unwound(long a) {
    std::string text(static_cast<size_t>(a), 'x');
    return throws(a) + static_cast<long>(text.size());
}
KEEP long catches(long a) {
    try {
        return is_unwound(a);
    } catch (const std::exception &error) {
        return static_cast<long>(std::string(error.what()).size());
    }
}
KEEP long rethrows(long a) {
    try {
        return throws(a);
    } catch (...) {
        sink = a;
        throw;
    }
}
KEEP long catches_again(long a) {
    try {
        return rethrows(a);
    } catch (const std::runtime_error &) {
        return -a;
    }
}

template <typename Number> KEEP Number generic(Number a, int n) {
    for (int i = 0; i < n; i++)
        a = a * 3 + 1;
    return a;
}

enum class Token { END, NUMBER, PLUS, MINUS, TIMES, OPEN, CLOSE };
KEEP std::string describe(Token token) {
    switch (token) {
    case Token::END:
        return "end";
    case Token::NUMBER:
        return "a number that is described at length, on the heap";
    case Token::PLUS:
        return "plus";
    case Token::MINUS:
        return "minus";
    case Token::TIMES:
        return "times";
    case Token::OPEN:
        return "open";
    case Token::CLOSE:
        return "close";
    }
    return "?";
}

KEEP long uses_map(long a) {
    static std::map<long, std::string> names = {{1, "one"}, {2, "two"}};
    auto found = names.find(a);
    return found == names.end() ? -1 : static_cast<long>(found->second.size());
}

KEEP std::unique_ptr<Shape> makes(long side) { return std::make_unique<Square>(side); }

int main() {
    long sum = 0;
    for (long i = 0; i < 8; i++) {
        Square square(i);
        sum += virtual_tail_call(square, 2) + through_thunk(square) + square.twice(i);
        if (i < 2) // the unwinder is long
            sum += catches(i) + catches_again(i);
        sum += generic<long>(i, 3);
        sum += static_cast<long>(generic<double>(1.0, 2));
        sum += static_cast<long>(describe(static_cast<Token>(i)).size()) + uses_map(i);
        sum += makes(i)->twice(3);
        auto closure = [&](long a) KEEP { return a + sum; };
        sum = closure(i);
    }
    sink = sum;
}
