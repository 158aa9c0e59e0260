// Command controlplane holds the programs of a small Kubernetes cluster in one binary.
// Its first argument names the program; the others are that program's own.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func programs() map[string]func(arguments []string) int {
	run := func(make func() *cobra.Command) func([]string) int {
		return func(arguments []string) int {
			command := make()
			command.SetArgs(arguments)
			return cli.Run(command)
		}
	}
	return map[string]func([]string) int{
		"etcd": func(arguments []string) int {
			etcdmain.Main(append([]string{"etcd"}, arguments...))
			return 0
		},
		"kube-apiserver":          run(apiserver.NewAPIServerCommand),
		"kube-controller-manager": run(manager.NewControllerManagerCommand),
		"kube-scheduler":          run(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
		"hollow-kubelet":          run(hollowKubelet),
		"kubelet":                 run(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	}
}

func main() {
	known := programs()
	if len(os.Args) > 1 {
		if program, found := known[os.Args[1]]; found {
			// Kubernetes' commands read os.Args for their version and help texts.
			arguments := os.Args[2:]
			os.Args = os.Args[1:]
			os.Exit(program(arguments))
		}
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintf(os.Stderr, "usage: controlplane PROGRAM ARGUMENTS...; programs: %s\n", strings.Join(names, ", "))
	os.Exit(2)
}
