// One of everything that clang writes into .BTF and .BTF.ext. Built by tests/clang.rs; what clang 19 made of it,
// for both byte orders, is kept beside this file.
#define SEC(name) __attribute__((section(name), used))
#define __tag(name) __attribute__((btf_type_tag(name)))
#define __decl(name) __attribute__((btf_decl_tag(name)))

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

enum color { RED, GREEN = 7, BLUE };
enum sign { MINUS = -1, PLUS = 1 };
enum huge { SMALL = 1, LARGE = 0x123456789abcdef0ULL };

struct unseen;

struct bits {
	u32 a : 3;
	int b : 5;
	u64 c : 40;
	enum sign s : 2;
	_Bool flag;
};

union number {
	u32 whole;
	u8 bytes[4];
};

struct __attribute__((packed)) tight {
	u8 head;
	u64 body;
};

struct everything {
	char name[16];
	const volatile u32 *once;
	u32 *__restrict apart;
	struct unseen *far;
	int (*callback)(struct everything *self, const char *format, ...);
	union {
		u64 stamp;
		struct {
			u32 low, high;
		};
	};
	struct bits bits;
	union number number;
	struct tight tight;
	enum color color;
	enum huge huge;
	float f;
	double d;
	u32 grid[2][3];
	u32 __tag("user") *user;
	u32 tagged __decl("note");
	u64 tail[];
};

struct {
	int (*type)[2];
	u32 *key;
	struct everything *value;
} flows SEC(".maps");

u32 counter = 3;
static volatile u64 hidden_total;
const volatile u32 debug SEC(".rodata.config") = 1;
__attribute__((visibility("hidden"))) u32 shy = 9;
struct everything sample = {
	.name = "eth0", .stamp = 0x0000000200000001ULL, .number = {.whole = 0x01020304}, .tight = {7, 8}, .color = GREEN,
	.huge = LARGE, .f = 1.5f, .d = -0.25, .grid = {{1, 2, 3}, {4, 5, 6}}, .tagged = 77, .tail = {11, 12},
	.bits = {.a = 5, .b = -3, .c = 0x123456789aULL, .s = MINUS, .flag = 1},
};
extern u64 CONFIG_HZ __attribute__((section(".kconfig"), weak));

int __attribute__((noinline)) helper(struct everything *it, u32 unused __decl("arg"))
{
	return __builtin_preserve_access_index(it->color) + (int)counter;
}

SEC("tc") int entry(struct everything *it)
{
	hidden_total += debug + shy + CONFIG_HZ;
	return helper(it, 1) + __builtin_preserve_enum_value(*(enum huge *)LARGE, 1) + (int)sample.tight.body;
}

char _license[] SEC("license") = "GPL";
