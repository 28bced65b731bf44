package runtime_test
import ("testing";"time";"bytes";"fmt";"os";"strings"
"github.com/vespiary/vespiary/host/internal/runtime"
. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest")
func hwm() string { b,_:=os.ReadFile("/proc/self/status"); _,l,_:=strings.Cut(string(b),"VmHWM:"); return strings.Fields(l)[0] }
func body(locals []byte, code []byte) []byte { x:=Join(locals,code,[]byte{End}); return Join(U32(uint32(len(x))),x) }
func one(b []byte) []byte { return Assemble(Section(1,Vec(Type(nil,nil))),Section(3,Vec([]byte{0})),Section(10,Vec(b))) }
func TestBomb(t *testing.T){
 o:=options(t); o.CacheDir=""
 e:=newEngine(t, runtime.NewNative, o)
 none:=[]byte{0}
 cases:=[]struct{n string; m []byte}{
 {"nest10k", one(body(none, Join(bytes.Repeat([]byte{2,0x40},9999),bytes.Repeat([]byte{End},9999))))},
 {"loop3k", one(body(none, Join(bytes.Repeat([]byte{3,0x40},3000),bytes.Repeat([]byte{End},3000))))},
 {"loop10k", one(body(none, Join(bytes.Repeat([]byte{3,0x40},9999),bytes.Repeat([]byte{End},9999))))},
 {"if10k", one(body(none, Join(bytes.Repeat([]byte{I32Const,1,4,0x40},9000),bytes.Repeat([]byte{End},9000))))},
 {"locals50k", one(body(Join([]byte{1},U32(50000),[]byte{I32}),nil))},
 {"locals50k-loops", one(body(Join([]byte{1},U32(50000),[]byte{I64}), Join(bytes.Repeat([]byte{3,0x40},1000),bytes.Repeat([]byte{End},1000))))},
 {"brtable1M", one(body(none, Join([]byte{I32Const,0,0x0e},U32(1000000),bytes.Repeat([]byte{0},1000001))))},
 {"straight2MB", one(body(Join([]byte{1,1,I32}), bytes.Repeat([]byte{0x20,0,I32Const,3,0x6a,0x21,0},300000)))},
 {"seqifs", one(body(Join([]byte{1,1,I32}), bytes.Repeat([]byte{0x20,0,4,0x40,0x20,0,I32Const,3,0x6a,0x21,0,End},100000)))},
 {"manyfuncs", func() []byte{ n:=100000; f:=bytes.Repeat([]byte{0},n); bs:=bytes.Repeat([]byte{2,0,End},n); return Assemble(Section(1,Vec(Type(nil,nil))),Section(3,U32(uint32(n)),f),Section(10,U32(uint32(n)),bs))}()},
 }
 for _,c:=range cases { s:=time.Now(); m,err:=e.Load(t.Context(),c.m); fmt.Println(c.n,len(c.m),time.Since(s),"hwm",hwm(),"err",fmt.Sprint(err)[:min(200,len(fmt.Sprint(err)))]); if m!=nil{m.Close(t.Context())}}
}
