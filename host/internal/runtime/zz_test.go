package runtime_test
import ("testing";"time";"github.com/vespiary/vespiary/host/internal/runtime")
func TestZZ(t *testing.T){
 e:=newEngine(t, runtime.NewNative, options(t))
 for _,n:=range []string{"c","rust","go"}{ m:=load(t,e,wasmOf(t,n)); i:=instantiate(t,m,config()); s:=time.Now(); _,err:=i.Call(t.Context(),"recurse",nil); t.Log(n,time.Since(s),err)}
 m:=load(t,e,recursive()); i:=instantiate(t,m,config()); s:=time.Now(); _,err:=i.Call(t.Context(),"run",nil); t.Log(time.Since(s),err)
}
